//! What operators set for a tenant: what it may grant, limits below the node's, its weight.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use super::TenantError;
use crate::capability::Policy;
use crate::config::{Limits, Narrowing};

/// The share of a tenant, where tenants compete: 1 to 1000. One of weight 200 gets twice as much as one of
/// weight 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u32);

impl Weight {
    const MAX: u32 = 1000;

    /// A weight.
    ///
    /// # Errors
    /// When it is zero, or above a thousand.
    pub fn new(number: u32) -> Result<Self, TenantError> {
        match number {
            1..=Self::MAX => Ok(Self(number)),
            _ => Err(TenantError::InvalidWeight { most: Self::MAX }),
        }
    }

    /// The weight as a number.
    pub fn number(self) -> u32 {
        self.0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self(100)
    }
}

/// The settings of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    allow: Policy,
    narrowing: Narrowing,
    weight: Weight,
    limits: Limits,
}

impl Settings {
    /// What holds for a tenant of which nobody has said anything: what holds for the node.
    pub fn unset(node: &Limits) -> Self {
        Self::new(Policy::Any, Narrowing::default(), Weight::default(), node)
    }

    pub(super) fn new(allow: Policy, narrowing: Narrowing, weight: Weight, node: &Limits) -> Self {
        let limits = narrowing.apply(node);
        Self {
            allow,
            narrowing,
            weight,
            limits,
        }
    }

    /// What may be granted, of all that the node allows.
    pub fn allow(&self) -> &Policy {
        &self.allow
    }

    /// The limits that are set for it.
    pub fn narrowing(&self) -> &Narrowing {
        &self.narrowing
    }

    /// Its share.
    pub fn weight(&self) -> Weight {
        self.weight
    }

    /// The limits in force: the node's, narrowed.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn changed(&self, change: SettingsChange, node: &Limits) -> Self {
        Self::new(
            change.allow.unwrap_or_else(|| self.allow.clone()),
            change.narrowing.unwrap_or_else(|| self.narrowing.clone()),
            change.weight.unwrap_or(self.weight),
            node,
        )
    }
}

/// What is to be set anew; the rest stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsChange {
    /// What may be granted.
    pub allow: Option<Policy>,
    /// All limits.
    pub narrowing: Option<Narrowing>,
    /// Its share.
    pub weight: Option<Weight>,
}

/// The settings of a tenant as they are now, for all who act for it.
#[derive(Clone)]
pub(super) struct SettingsNow(Arc<RwLock<Arc<Settings>>>);

impl SettingsNow {
    pub(super) fn new(settings: Settings) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(settings))))
    }

    pub(super) fn get(&self) -> Arc<Settings> {
        // Nothing is left half done under it.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set(&self, settings: Settings) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }
}

impl PartialEq for SettingsNow {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for SettingsNow {}

impl fmt::Debug for SettingsNow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_has_bounds() {
        assert_eq!(Weight::default().number(), 100);
        for good in [1, 100, 1000] {
            assert_eq!(Weight::new(good).unwrap().number(), good);
        }
        for bad in [0, 1001, u32::MAX] {
            assert!(Weight::new(bad).is_err(), "{bad}");
        }
    }
}
