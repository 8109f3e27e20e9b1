//! Values that may not be shown.

use zeroize::Zeroize;

/// A protected value: no `Debug`, no `Display`, no `Serialize`; wiped when dropped.
///
/// The only way to the value is [`Phi::expose_phi`], so that a reader can search for every point of use.
pub struct Phi<T: Zeroize>(T);

impl<T: Zeroize> Phi<T> {
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Whatever is done with it must be on the audit record.
    pub fn expose_phi(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> Drop for Phi<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Whose record this is: the identity that ties one person's records in every dataset and run.
///
/// Two records belong to one person if and only if their `SubjectId`s are equal.
pub struct SubjectId(Phi<Vec<u8>>);

impl SubjectId {
    pub fn new(identity: &[u8]) -> Self {
        Self(Phi::new(identity.to_vec()))
    }

    pub fn expose_phi(&self) -> &[u8] {
        self.0.expose_phi()
    }
}

impl PartialEq for SubjectId {
    fn eq(&self, other: &Self) -> bool {
        self.expose_phi() == other.expose_phi()
    }
}

impl Eq for SubjectId {}
