//! Cases for proptest. A case that fails is made smaller by leaving out packets, then entries, then NICs.

use proptest::strategy::{NewTree, Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use crate::case::Case;
use crate::generate::Dice;

/// Cases with at most so many packets.
#[derive(Debug)]
pub struct Cases {
    pub packets: usize,
}

impl Strategy for Cases {
    type Tree = Tree;
    type Value = Case;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        Ok(Tree::new(Dice(runner.new_rng()).case(self.packets)))
    }
}

/// A case that fails, and one with less in it that is to be tried.
#[derive(Debug)]
pub struct Tree {
    failing: Case,
    tried: Case,
    /// What is left out next: a list, from where, how many.
    list: usize,
    at: usize,
    chunk: usize,
}

impl Tree {
    pub fn new(case: Case) -> Self {
        let chunk = case.probes.len().div_ceil(2);
        Self {
            failing: case.clone(),
            tried: case,
            list: 0,
            at: 0,
            chunk,
        }
    }

    fn length(&self) -> usize {
        let Case { file, slots, probes } = &self.failing;
        [
            probes.len(),
            file.forwards.len(),
            file.eips.len(),
            file.interfaces.len(),
            file.pool.len(),
            file.routes.len(),
            file.mirrors.len(),
            usize::from(file.ipv6),
            usize::from(file.uncounted),
            slots.len(),
        ][self.list]
    }

    /// Tries the failing case without the next chunk; `false`: all was tried.
    fn leave_out(&mut self) -> bool {
        const LISTS: usize = 10;
        while self.at >= self.length() {
            self.at = 0;
            if self.chunk > 1 {
                self.chunk = self.chunk.div_ceil(2);
            } else if self.list + 1 < LISTS {
                self.list += 1;
                self.chunk = self.length().div_ceil(2).max(1);
            } else {
                self.tried = self.failing.clone();
                return false;
            }
        }
        self.tried = self.failing.clone();
        let range = self.at..(self.at + self.chunk).min(self.length());
        let Case { file, slots, probes } = &mut self.tried;
        match self.list {
            0 => drop(probes.drain(range)),
            1 => drop(file.forwards.drain(range)),
            2 => drop(file.eips.drain(range)),
            3 => drop(file.interfaces.drain(range)),
            4 => drop(file.pool.drain(range)),
            5 => drop(file.routes.drain(range)),
            6 => drop(file.mirrors.drain(range)),
            7 => file.ipv6 = false,
            8 => file.uncounted = false,
            _ => drop(slots.drain(range)),
        }
        // Without its other entries, an entry may be wrong that was right.
        self.tried.file = self.tried.file.clone().repaired();
        true
    }
}

impl ValueTree for Tree {
    type Value = Case;

    fn current(&self) -> Case {
        self.tried.clone()
    }

    fn simplify(&mut self) -> bool {
        self.failing = self.tried.clone();
        self.leave_out()
    }

    fn complicate(&mut self) -> bool {
        self.at += self.chunk;
        self.leave_out()
    }
}

/// A case that fails if two things are together is left with these two.
pub fn what_does_not_matter_is_left_out() {
    let mut runner = TestRunner::deterministic();
    let large = loop {
        let case = Dice(runner.new_rng()).case(40);
        if case.file.eips.len() > 2 && case.probes.len() > 30 {
            break case;
        }
    };
    let (probe, eip) = (large.probes[17], large.file.eips[1].clone());
    let fails = |case: &Case| case.probes.contains(&probe) && case.file.eips.contains(&eip);
    let mut tree = Tree::new(large);
    let mut goes_on = tree.simplify();
    while goes_on {
        goes_on = if fails(&tree.current()) {
            tree.simplify()
        } else {
            tree.complicate()
        };
    }
    let small = tree.current();
    assert_eq!((small.probes, small.file.eips), (vec![probe], vec![eip]));
    assert!(small.file.forwards.is_empty() && small.slots.is_empty() && small.file.interfaces.is_empty());
}
