//! The part of every page that says who is signed in.

use maud::{Markup, html};

use crate::http::access::current;
use crate::http::console::words::visible;

/// Who is signed in, with the button that signs out. Nothing where no one signs in here.
pub(super) fn who() -> Markup {
    html! {
        @if let Some(who) = current::signed_in().filter(|who| who.has_session) {
            form class="who" method="post" action="/sign-out" {
                span class="quiet" { (visible(&who.user.name)) " · " (who.user.role.name()) } " "
                button type="submit" class="button" { "Sign out" }
            }
        }
    }
}
