//! Positions of items in a body, in the form `8-97,99`.

use std::fmt;
use std::ops::RangeInclusive;

use crate::parsed::ITEMS_MAX;

/// Positions of items in ascending order, as ranges.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ItemRanges(Vec<RangeInclusive<u32>>);

impl ItemRanges {
    /// The ranges of positions in ascending order.
    pub fn of(positions: impl IntoIterator<Item = u32>) -> Self {
        let mut ranges: Vec<RangeInclusive<u32>> = Vec::new();
        for position in positions {
            match ranges.last_mut() {
                Some(last) if last.end().checked_add(1) == Some(position) => *last = *last.start()..=position,
                _ => ranges.push(position..=position),
            }
        }
        Self(ranges)
    }

    /// Parses ranges; `None` for an invalid text, and for more items than a body can have.
    pub fn parse(text: &str) -> Option<Self> {
        let mut ranges = Vec::new();
        for part in text.split(',') {
            let (start, end) = part.split_once('-').unwrap_or((part, part));
            let range = start.parse().ok()?..=end.parse().ok()?;
            if range.is_empty() || ranges.len() >= ITEMS_MAX {
                return None;
            }
            ranges.push(range);
        }
        Some(Self(ranges))
    }

    /// Whether it contains a position.
    pub fn contains(&self, position: u32) -> bool {
        self.0.iter().any(|range| range.contains(&position))
    }

    /// Number of positions.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|range| u64::from(range.end() - range.start()) + 1).sum()
    }
}

impl fmt::Display for ItemRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, range) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            match (range.start(), range.end()) {
                (start, end) if start == end => write!(f, "{comma}{start}")?,
                (start, end) => write!(f, "{comma}{start}-{end}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_read_as_they_are_written() {
        for (positions, text) in [
            (vec![8], "8"),
            (vec![8, 9, 10], "8-10"),
            (vec![8, 10, 11, 13, u32::MAX], "8,10-11,13,4294967295"),
        ] {
            let ranges = ItemRanges::of(positions.iter().copied());
            assert_eq!(ranges.to_string(), text);
            assert_eq!(ItemRanges::parse(text), Some(ranges.clone()));
            assert_eq!(ranges.count(), positions.len() as u64);
            assert!(positions.iter().all(|position| ranges.contains(*position)) && !ranges.contains(12));
        }
        for bad in ["", "x", "9-8", "8,", "-1", "8--9", "8 9"] {
            assert_eq!(ItemRanges::parse(bad), None, "{bad}");
        }
    }
}
