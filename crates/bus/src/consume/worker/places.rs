//! Values at numbered places: a map whose keys are its own, and which therefore hashes nothing. A worker puts and takes one
//! value for each message (500 of the 90,000 instructions of a webhook, as a map).

/// Values, each at a place that is its own until the value is taken.
#[derive(Debug)]
pub(super) struct Places<T> {
    values: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Places<T> {
    /// No values.
    pub(super) const fn new() -> Self {
        Self { values: Vec::new(), free: Vec::new() }
    }

    /// Puts a value at a free place, which it returns.
    pub(super) fn put(&mut self, value: T) -> usize {
        let Some(place) = self.free.pop() else {
            self.values.push(Some(value));
            return self.values.len() - 1;
        };
        self.values[place] = Some(value);
        place
    }

    /// Takes the value out of a place, which is free from then on; `None` where there is no value.
    pub(super) fn take(&mut self, place: usize) -> Option<T> {
        let value = self.values.get_mut(place)?.take()?;
        self.free.push(place);
        Some(value)
    }

    /// Number of values.
    pub(super) fn len(&self) -> usize {
        self.values.len() - self.free.len()
    }

    /// All values, in no order.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.values.iter_mut().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_belongs_to_one_value_until_that_is_taken() {
        let mut places = Places::new();
        let [first, second] = ["a", "b"].map(|value| places.put(value));
        assert_ne!(first, second);
        assert_eq!((places.take(first), places.take(first), places.len()), (Some("a"), None, 1));
        assert_eq!(places.put("c"), first);
        assert_eq!(places.values_mut().map(|value| *value).collect::<Vec<_>>(), ["c", "b"]);
        assert_eq!((places.take(second), places.take(first), places.take(2)), (Some("b"), Some("c"), None));
        assert_eq!(places.len(), 0);
    }
}
