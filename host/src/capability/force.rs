//! What of a registration's grants is in force, and what is withheld by whom.

use std::sync::Arc;

use super::{Grant, Grants, Policy};

/// Who withholds a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// The node's configuration.
    Node,
    /// The settings of the tenant.
    Tenant,
    /// Whoever makes the call.
    Caller,
}

impl Authority {
    /// As text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Tenant => "tenant",
            Self::Caller => "caller",
        }
    }
}

/// A grant that is not in force as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withheld {
    /// The grant.
    pub grant: Grant,
    /// What is left of it.
    pub left: Option<Grant>,
    /// The first who does not allow it.
    pub by: Authority,
}

/// The policies that a grant has to get through.
#[derive(Clone, Copy, Debug)]
pub struct Policies<'a> {
    /// The node's.
    pub node: &'a Policy,
    /// The tenant's.
    pub tenant: &'a Policy,
    /// The caller's.
    pub caller: &'a Policy,
}

impl Policies<'_> {
    /// What is in force of these grants.
    pub fn in_force(&self, grants: &Arc<Grants>) -> Arc<Grants> {
        if grants.iter().all(|grant| self.narrowing(grant).is_none()) {
            return Arc::clone(grants);
        }
        let left = grants.iter().filter_map(|grant| self.meet(grant));
        // A narrower grant is about the same subject, so no two of them can be.
        Arc::new(Grants::collect(left).unwrap_or_default())
    }

    /// What of these grants is not in force, and who does not allow it.
    pub fn withheld(&self, grants: &Grants) -> Vec<Withheld> {
        let withheld = grants.iter().filter_map(|grant| {
            Some(Withheld {
                grant: grant.clone(),
                left: self.meet(grant),
                by: self.narrowing(grant)?,
            })
        });
        withheld.collect()
    }

    fn each(&self) -> [(&Policy, Authority); 3] {
        [
            (self.node, Authority::Node),
            (self.tenant, Authority::Tenant),
            (self.caller, Authority::Caller),
        ]
    }

    fn meet(&self, grant: &Grant) -> Option<Grant> {
        let mut left = grant.clone();
        for (policy, _) in self.each() {
            left = policy.meet(&left)?;
        }
        Some(left)
    }

    /// The first who does not allow a grant as it is.
    fn narrowing(&self, grant: &Grant) -> Option<Authority> {
        let mut each = self.each().into_iter();
        let narrows = |(policy, _): &(&Policy, Authority)| !policy.allows(grant);
        each.find(narrows).map(|(_, authority)| authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All sorts of grants and of patterns for them, few enough that they meet often.
    const GRANTS: [&str; 12] = [
        "log",
        "env:A=1",
        "env:B=2",
        "clock:frozen",
        "random:seeded=7",
        "fs:a=ro",
        "fs:b=rw",
        "kv:a=rw",
        "kv:b=ro",
        "kv:c=rw",
        "http:a.b",
        "http:a.b:80",
    ];
    const PATTERNS: [&str; 20] = [
        "log",
        "env",
        "env:A",
        "clock",
        "clock:precise",
        "clock:frozen",
        "random",
        "fs",
        "fs=ro",
        "fs:a",
        "fs:b=ro",
        "kv",
        "kv=ro",
        "kv:a",
        "kv:a=ro",
        "kv:b=rw",
        "kv:c=ro",
        "http",
        "http:a.b",
        "http:a.b:80",
    ];

    /// Numbers that look random and are the same each time.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, end: usize) -> usize {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            usize::try_from(self.0 >> 33).unwrap() % end
        }

        fn some<'a>(&mut self, of: &[&'a str]) -> Vec<&'a str> {
            let all = self.below(4) == 0;
            of.iter()
                .copied()
                .filter(|_| all || self.below(3) == 0)
                .collect()
        }

        fn policy(&mut self) -> Policy {
            match self.below(8) {
                0 => Policy::Any,
                _ => Policy::parse(&self.some(&PATTERNS), 64).unwrap(),
            }
        }
    }

    #[test]
    fn whatever_the_four_say_what_is_in_force_is_in_all_four() {
        let mut numbers = Numbers(1);
        let (mut whole, mut narrowed, mut gone) = (0, 0, 0);
        for _ in 0..20_000 {
            let granted = Arc::new(Grants::parse(numbers.some(&GRANTS)).unwrap());
            let [node, tenant, caller] = [(); 3].map(|()| numbers.policy());
            let policies = Policies {
                node: &node,
                tenant: &tenant,
                caller: &caller,
            };
            let in_force = policies.in_force(&granted);
            for grant in in_force.iter() {
                for policy in [&node, &tenant, &caller] {
                    assert!(policy.allows(grant), "{grant} {policy:?}");
                }
                let of = granted.iter().find(|of| of.subject() == grant.subject());
                let of = of.expect("what is in force was granted");
                assert!(grant <= of, "{grant} is wider than {of}");
                match grant == of {
                    true => whole += 1,
                    false => narrowed += 1,
                }
            }
            // And nothing is taken away that all allow.
            let withheld = policies.withheld(&granted);
            for grant in granted.iter() {
                let is_allowed = [&node, &tenant, &caller]
                    .iter()
                    .all(|one| one.allows(grant));
                assert_eq!(
                    in_force.iter().any(|one| one == grant),
                    is_allowed,
                    "{grant}"
                );
                assert_eq!(withheld.iter().any(|one| one.grant == *grant), !is_allowed);
            }
            gone += granted.iter().count() - in_force.iter().count();
        }
        assert!(
            whole > 1000 && narrowed > 1000 && gone > 1000,
            "{whole} {narrowed} {gone}"
        );
    }

    #[test]
    fn the_first_who_does_not_allow_it_is_named() {
        let policy = |text: &str| Policy::parse(&[text], 64).unwrap();
        let (kv, ro, none) = (policy("kv"), policy("kv=ro"), Policy::default());
        let granted = Arc::new(Grants::parse(["kv:a=rw"]).unwrap());
        let withheld = |node, tenant, caller| {
            let policies = Policies {
                node,
                tenant,
                caller,
            };
            let withheld = policies.withheld(&granted);
            withheld
                .first()
                .map(|one| (one.by, one.left.as_ref().map(Grant::to_string)))
        };
        let left = Some("kv:a=ro".to_owned());
        assert_eq!(withheld(&kv, &kv, &kv), None);
        assert_eq!(
            withheld(&ro, &kv, &kv),
            Some((Authority::Node, left.clone()))
        );
        assert_eq!(withheld(&kv, &ro, &kv), Some((Authority::Tenant, left)));
        assert_eq!(withheld(&kv, &kv, &none), Some((Authority::Caller, None)));
        assert_eq!(withheld(&ro, &kv, &none), Some((Authority::Node, None)));
    }
}
