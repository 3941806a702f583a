//! All that is wrong with a `mod`, so that an author hears of everything at once.

/// Errors collected on the way.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    all: Option<syn::Error>,
}

impl Faults {
    /// Keep what was read, or remember why it was not.
    pub(crate) fn keep<T>(&mut self, read: syn::Result<T>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(error) => {
                match &mut self.all {
                    Some(all) => all.combine(error),
                    None => self.all = Some(error),
                }
                None
            }
        }
    }

    /// Remember what is wrong, if anything is.
    pub(crate) fn note(&mut self, checked: syn::Result<()>) {
        self.keep(checked);
    }

    /// Whether all is well so far.
    pub(crate) fn is_none(&self) -> bool {
        self.all.is_none()
    }

    /// Nothing, if nothing was wrong.
    pub(crate) fn end(self) -> syn::Result<()> {
        self.all.map_or(Ok(()), Err)
    }
}
