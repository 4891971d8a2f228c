//! What a tenant's rows are held against, by name, so that a test can leave one out and show that no other finds what it is there for. Whatever serves leaves none out.

/// One of the checks of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// The event is the one that the leaf names.
    Event,
    /// The columns are what the leaf and the event say.
    Columns,
    /// The row is of the tenant's partition.
    Partition,
    /// The leaf is of the partition's origin.
    Origin,
    /// The leaf is the tenant's next one.
    Chain,
    /// The leaf's hash is the one that its tile has.
    Tree,
    /// The tile leads to the signed root.
    Root,
    /// The rows of `targets` are the event's.
    Targets,
    /// The months begin and end where the rows do, and follow one another.
    Months,
    /// The last entry is the one that the tables name as the tenant's head.
    Head,
    /// Every leaf behind the chain's last one has its row.
    Tail,
    /// The leaves that declare the keys are in the tree.
    Keys,
    /// A key of the ledger signed the checkpoint.
    Signature,
}

impl Check {
    pub const ALL: [Self; 13] = [
        Self::Event,
        Self::Columns,
        Self::Partition,
        Self::Origin,
        Self::Chain,
        Self::Tree,
        Self::Root,
        Self::Targets,
        Self::Months,
        Self::Head,
        Self::Tail,
        Self::Keys,
        Self::Signature,
    ];
}

/// The checks that are made: all, or all but one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checks {
    left_out: Option<Check>,
}

impl Checks {
    pub const ALL: Self = Self { left_out: None };

    /// For tests alone.
    #[must_use]
    pub const fn all_but(check: Check) -> Self {
        Self {
            left_out: Some(check),
        }
    }

    /// Whether `check` finds nothing wrong: it is as it must be, or is not looked at.
    #[must_use]
    pub fn pass(self, check: Check, is_right: bool) -> bool {
        is_right || self.left_out == Some(check)
    }

    /// The same, with what is wrong otherwise.
    ///
    /// # Errors
    /// `wrong`, where it is not as it must be and is looked at.
    pub fn hold<E>(self, check: Check, is_right: bool, wrong: E) -> Result<(), E> {
        if self.pass(check, is_right) {
            Ok(())
        } else {
            Err(wrong)
        }
    }
}
