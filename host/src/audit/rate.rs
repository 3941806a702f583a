//! How many lines a tenant, or all strangers together, can cause in a second.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};

use super::Entry;

/// Tenants that are remembered before those of earlier seconds are looked through.
const MANY_TENANTS: usize = 64;

/// The present second of each tenant. Strangers count as one.
#[derive(Debug)]
pub(super) struct Windows {
    max_lines: u64,
    of: HashMap<Option<String>, Window>,
}

#[derive(Debug, Default)]
struct Window {
    second: u64,
    lines: u64,
    left_out: u64,
    /// What needs no second line in this second.
    told: HashSet<u64>,
}

/// Lines that were left out in a second that is over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) tenant: Option<String>,
    pub(super) lines: u64,
}

impl Windows {
    pub(super) fn new(max_lines: u64) -> Self {
        Windows {
            max_lines,
            of: HashMap::new(),
        }
    }

    /// Whether an entry may be told in this second, and what was left out before.
    pub(super) fn admit(&mut self, entry: &Entry, second: u64) -> (bool, Option<LeftOut>) {
        if !self.of.contains_key(&entry.tenant) && self.of.len() >= MANY_TENANTS {
            // Who left nothing out has nothing to tell.
            self.of
                .retain(|_, window| window.second == second || window.left_out > 0);
        }
        let window = self.of.entry(entry.tenant.clone()).or_default();
        let mut left_out = None;
        if window.second != second {
            left_out = (window.left_out > 0).then(|| LeftOut {
                tenant: entry.tenant.clone(),
                lines: window.left_out,
            });
            *window = Window {
                second,
                ..Window::default()
            };
        }
        let is_news = !entry.is_once() || window.told.insert(kind(entry));
        let is_admitted = is_news && window.lines < self.max_lines;
        let counted = match is_admitted {
            true => &mut window.lines,
            false => &mut window.left_out,
        };
        *counted = counted.saturating_add(1);
        if window.told.len() as u64 > self.max_lines {
            window.told.clear();
        }
        (is_admitted, left_out)
    }

    /// What was left out in seconds that are over; they are forgotten.
    pub(super) fn stale(&mut self, second: u64) -> Vec<LeftOut> {
        let stale = self.of.extract_if(|_, window| window.second != second);
        stale
            .filter(|(_, window)| window.left_out > 0)
            .map(|(tenant, window)| LeftOut {
                tenant,
                lines: window.left_out,
            })
            .collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }
}

/// What makes two entries say the same.
fn kind(entry: &Entry) -> u64 {
    let mut hasher = DefaultHasher::new();
    let what = (&entry.event, &entry.object, &entry.code, &entry.why);
    (&entry.credential, what).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    fn entry(tenant: Option<&str>) -> Entry {
        Entry::new("show", Outcome::Refused).tenant(tenant.map(str::to_owned))
    }

    #[test]
    fn each_tenant_has_so_many_lines_a_second_and_the_rest_is_counted() {
        let mut windows = Windows::new(2);
        let mut admitted = |tenant, second| windows.admit(&entry(tenant), second);
        for tenant in [Some("a"), Some("b"), None] {
            assert_eq!(admitted(tenant, 7), (true, None));
            assert_eq!(admitted(tenant, 7), (true, None));
            assert_eq!(admitted(tenant, 7), (false, None));
            assert_eq!(admitted(tenant, 7), (false, None));
        }
        let left_out = |tenant: Option<&str>| LeftOut {
            tenant: tenant.map(str::to_owned),
            lines: 2,
        };
        assert_eq!(admitted(Some("a"), 8), (true, Some(left_out(Some("a")))));
        assert_eq!(admitted(Some("a"), 8), (true, None));
        let mut stale = windows.stale(9);
        stale.sort_by(|one, other| one.tenant.cmp(&other.tenant));
        assert_eq!(stale, [left_out(None), left_out(Some("b"))]);
        assert!(windows.is_empty() && windows.stale(9).is_empty());
    }

    #[test]
    fn what_is_told_once_a_second_is_told_once_a_second() {
        let mut windows = Windows::new(10);
        let limit = |object: &str| entry(Some("a")).object(object).once();
        assert!(windows.admit(&limit("calc"), 1).0);
        assert!(!windows.admit(&limit("calc"), 1).0);
        assert!(windows.admit(&limit("text"), 1).0);
        let (is_admitted, left_out) = windows.admit(&limit("calc"), 2);
        assert!(is_admitted);
        assert_eq!(left_out.unwrap().lines, 1);
    }

    #[test]
    fn tenants_that_are_silent_are_forgotten() {
        let mut windows = Windows::new(1);
        for number in 0..10 * MANY_TENANTS {
            let tenant = format!("t{number}");
            windows.admit(&entry(Some(&tenant)), number as u64);
        }
        assert!(windows.of.len() <= MANY_TENANTS);
    }
}
