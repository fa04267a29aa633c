//! What the screen and its table of channels have in common.

/// Columns from which the wide form is drawn.
pub(super) const WIDE: u16 = 130;

/// `1 234 567`
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}
