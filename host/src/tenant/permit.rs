//! Permits: proof that a principal was asked and may. Each has private fields and is made in this
//! file only, so a function that takes one cannot be called without the check.

use std::sync::Arc;

use super::standing::Holder;
use super::{Credential, Principal, Role, Settings, TenantError, TenantId, TenantName};

macro_rules! permit {
    ($(#[doc = $doc:literal])+ $name:ident) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug)]
        pub struct $name {
            tenant: TenantId,
            holder: Holder,
            settings: Arc<Settings>,
        }

        impl $name {
            /// What is set for that tenant, as of when the permit was given.
            pub fn settings(&self) -> &Settings {
                &self.settings
            }

            /// In which tenant.
            pub fn tenant(&self) -> TenantId {
                self.tenant
            }

            /// By whose token or certificate, for the record.
            pub fn holder(&self) -> Credential {
                self.holder.credential.clone()
            }
        }
    };
}

permit! {
    /// May look at what its tenant has registered.
    ReadPermit
}
permit! {
    /// May call what its tenant has registered.
    CallPermit
}
permit! {
    /// May change what its tenant has registered.
    DeployPermit
}
permit! {
    /// May run the node: make and remove tenants.
    OperatorPermit
}

/// May make, list and revoke the tokens of one tenant, which is not always the holder's own.
#[derive(Clone, Debug)]
pub struct TokenPermit {
    of: TenantName,
    tenant: TenantId,
    holder: Holder,
}

impl TokenPermit {
    /// Whose tokens.
    pub fn of(&self) -> &TenantName {
        &self.of
    }

    /// The tenant of the holder.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// By whose token or certificate, for the record.
    pub fn holder(&self) -> Credential {
        self.holder.credential.clone()
    }

    pub(super) fn rests_on(&self) -> &Holder {
        &self.holder
    }
}

impl OperatorPermit {
    pub(super) fn rests_on(&self) -> &Holder {
        &self.holder
    }
}

impl Principal {
    /// Asks to look at registrations.
    ///
    /// # Errors
    /// When the role does not allow it.
    pub fn permit_read(&self) -> Result<ReadPermit, TenantError> {
        self.at_least(Role::Reader)?;
        Ok(ReadPermit {
            tenant: self.tenant(),
            holder: self.holder().clone(),
            settings: self.settings(),
        })
    }

    /// Asks to call registrations.
    ///
    /// # Errors
    /// When the role does not allow it.
    pub fn permit_call(&self) -> Result<CallPermit, TenantError> {
        self.at_least(Role::Caller)?;
        Ok(CallPermit {
            tenant: self.tenant(),
            holder: self.holder().clone(),
            settings: self.settings(),
        })
    }

    /// Asks to change registrations.
    ///
    /// # Errors
    /// When the role does not allow it.
    pub fn permit_deploy(&self) -> Result<DeployPermit, TenantError> {
        self.at_least(Role::Deployer)?;
        Ok(DeployPermit {
            tenant: self.tenant(),
            holder: self.holder().clone(),
            settings: self.settings(),
        })
    }

    /// Asks to manage the tokens of a tenant. Whether that tenant exists plays no part, so the
    /// refusal tells nothing about it.
    ///
    /// # Errors
    /// When it is neither an admin of that tenant nor an operator.
    pub fn permit_tokens(&self, of: &TenantName) -> Result<TokenPermit, TenantError> {
        if of == self.tenant_name() {
            self.at_least(Role::Admin)?;
        } else {
            self.operator().map_err(|_| TenantError::NotAdminOf)?;
        }
        Ok(TokenPermit {
            of: of.clone(),
            tenant: self.tenant(),
            holder: self.holder().clone(),
        })
    }

    /// Asks to run the node.
    ///
    /// # Errors
    /// When it is not an admin of tenant `default`.
    pub fn permit_operate(&self) -> Result<OperatorPermit, TenantError> {
        self.operator()?;
        Ok(OperatorPermit {
            tenant: self.tenant(),
            holder: self.holder().clone(),
            settings: self.settings(),
        })
    }

    fn at_least(&self, needed: Role) -> Result<(), TenantError> {
        if self.role() < needed {
            return Err(TenantError::RoleTooLow {
                needed,
                actual: self.role(),
            });
        }
        Ok(())
    }

    fn operator(&self) -> Result<(), TenantError> {
        if self.role() == Role::Admin && self.tenant_name().is_operator() {
            return Ok(());
        }
        Err(TenantError::NotOperator)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Token;
    use super::super::settings::SettingsNow;
    use super::*;
    use crate::account::Account;
    use crate::config::Limits;

    fn principal(tenant: &str, role: Role) -> Principal {
        Principal::new(
            TenantId::new(7),
            tenant.parse().unwrap(),
            role,
            Holder::new(Credential::Token(Token::generate().unwrap().id()), []),
            Account::for_tests(u64::MAX),
            SettingsNow::new(Settings::unset(&Limits::default())),
        )
    }

    /// What each role may in an ordinary tenant and in the operators' one, all verbs.
    #[test]
    fn verbs_and_roles() {
        let verbs = |principal: &Principal| {
            let own = principal.tenant_name().clone();
            [
                principal.permit_read().is_ok(),
                principal.permit_call().is_ok(),
                principal.permit_deploy().is_ok(),
                principal.permit_tokens(&own).is_ok(),
                principal.permit_tokens(&"other".parse().unwrap()).is_ok(),
                principal.permit_tokens(&"absent".parse().unwrap()).is_ok(),
                principal.permit_operate().is_ok(),
            ]
        };
        let (y, n) = (true, false);
        #[rustfmt::skip]
        let table = [
            //                           read call deploy own other absent operate
            ("team",    Role::Reader,   [y,   n,   n,     n,  n,    n,     n]),
            ("team",    Role::Caller,   [y,   y,   n,     n,  n,    n,     n]),
            ("team",    Role::Deployer, [y,   y,   y,     n,  n,    n,     n]),
            ("team",    Role::Admin,    [y,   y,   y,     y,  n,    n,     n]),
            ("default", Role::Reader,   [y,   n,   n,     n,  n,    n,     n]),
            ("default", Role::Caller,   [y,   y,   n,     n,  n,    n,     n]),
            ("default", Role::Deployer, [y,   y,   y,     n,  n,    n,     n]),
            ("default", Role::Admin,    [y,   y,   y,     y,  y,    y,     y]),
        ];
        for (tenant, role, expected) in table {
            assert_eq!(
                verbs(&principal(tenant, role)),
                expected,
                "{role} of {tenant}"
            );
        }
        assert_eq!(table.len(), 2 * Role::ALL.len());
    }

    #[test]
    fn a_permit_names_tenant_and_holder() {
        let admin = principal("default", Role::Admin);
        let permit = admin.permit_tokens(&"other".parse().unwrap()).unwrap();
        assert_eq!(
            (permit.of().as_str(), permit.holder()),
            ("other", admin.credential())
        );
        assert_eq!(permit.tenant(), admin.tenant());
        let permit = admin.permit_call().unwrap();
        assert_eq!(
            (permit.tenant(), permit.holder()),
            (admin.tenant(), admin.credential())
        );
    }

    #[test]
    fn refusals_say_what_is_missing() {
        let reader = principal("team", Role::Reader);
        assert_eq!(
            reader.permit_call().unwrap_err().to_string(),
            "this needs a token or certificate with role `caller` or above, this one has `reader`"
        );
    }
}
