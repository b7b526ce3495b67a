//! What a set holds. Copies share it until one of them is changed: a table of ten thousand elastic IPs is desired, planned,
//! carried out, noted and seen in one run, and is in memory once.

use std::collections::{BTreeMap, btree_map};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Element, Tuple};

/// Elements in order, with their values; a value is zero where there is no data.
#[derive(Clone, Debug, Default, Eq)]
pub struct Elements(Arc<BTreeMap<Element, Tuple>>);

impl Deref for Elements {
    type Target = BTreeMap<Element, Tuple>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Elements {
    fn deref_mut(&mut self) -> &mut Self::Target {
        Arc::make_mut(&mut self.0)
    }
}

impl PartialEq for Elements {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl FromIterator<(Element, Tuple)> for Elements {
    fn from_iter<I: IntoIterator<Item = (Element, Tuple)>>(pairs: I) -> Self {
        Self(Arc::new(pairs.into_iter().collect()))
    }
}

impl<'e> IntoIterator for &'e Elements {
    type Item = (&'e Element, &'e Tuple);
    type IntoIter = btree_map::Iter<'e, Element, Tuple>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// JSON has no keys but strings: a list of pairs.
impl Serialize for Elements {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self)
    }
}

impl<'de> Deserialize<'de> for Elements {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Vec::<(Element, Tuple)>::deserialize(from)?.into_iter().collect())
    }
}
