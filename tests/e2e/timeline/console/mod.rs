//! The pages of the console in a real browser.

mod cases;
mod everyone;
mod stage;
mod replays;
mod use_of_pages;
