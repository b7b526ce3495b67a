//! The entries of the file's lists, of which there may be tens of thousands: what is kept of each is its value.

use std::net::Ipv4Addr;

use super::fields::{Path, Read, Reader};
use super::node::Located;
use super::problem::Place;

/// Reads one entry of a list; `None`: it could not be read, which was told.
type ReadEntry<T> = fn(&mut Reader<'_>, &Located<'_>, Path) -> Option<T>;

/// The entries of a list that could be read. Where each stands in the list is its position in here, but for those behind
/// one that could not be read.
pub(super) struct Entries<T> {
    pub(super) list: &'static str,
    read: ReadEntry<T>,
    place: fn(&T) -> Place,
    values: Vec<T>,
    /// For each entry that could not be read: how many stand before it that could.
    unread: Vec<usize>,
}

impl<T> Entries<T> {
    /// Those of the list with this key, none of which was read yet; `place` says where one stands.
    pub(super) fn new(list: &'static str, read: ReadEntry<T>, place: fn(&T) -> Place) -> Self {
        Self {
            list,
            read,
            place,
            values: Vec::new(),
            unread: Vec::new(),
        }
    }

    /// Reads the next entry of the list.
    pub(super) fn push(&mut self, reader: &mut Reader<'_>, item: &Located<'_>) {
        let path = Path::Item(self.list, self.values.len() + self.unread.len());
        match (self.read)(reader, item, path) {
            Some(value) => self.values.push(value),
            None => self.unread.push(self.values.len()),
        }
    }

    pub(super) fn values(&self) -> &[T] {
        &self.values
    }

    pub(super) fn into_values(mut self) -> Vec<T> {
        self.values.shrink_to_fit();
        self.values
    }

    /// One by its position among [`Self::values`].
    pub(super) fn get(&self, position: usize) -> Option<Read<&T>> {
        let value = self.values.get(position)?;
        let unread = self.unread.partition_point(|before| *before <= position);
        Some(Read {
            value,
            path: Path::Item(self.list, position + unread),
            place: (self.place)(value),
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Read<&T>> {
        (0..self.values.len()).filter_map(|position| self.get(position))
    }
}

/// Which of many has an address first. Sorted pairs: a map takes several times the memory, and longer to be made.
pub(super) struct Addresses(Vec<(Ipv4Addr, u32)>);

impl Addresses {
    pub(super) fn new(addresses: impl Iterator<Item = Ipv4Addr>) -> Self {
        // No file has so many entries that a position is left out: it has fewer bytes.
        let mut sorted: Vec<_> = addresses.zip(0..u32::MAX).collect();
        sorted.sort_unstable();
        Self(sorted)
    }

    /// The position of the first that has it.
    pub(super) fn first(&self, address: Ipv4Addr) -> Option<usize> {
        let at = self.0.partition_point(|(other, _)| *other < address);
        let (_, position) = self.0.get(at).filter(|(other, _)| *other == address)?;
        usize::try_from(*position).ok()
    }

    pub(super) fn contains(&self, address: Ipv4Addr) -> bool {
        self.first(address).is_some()
    }
}
