//! What the verifier does when the archive cannot be read: it says which object, and gives no verdict.

use crate::archive_fixture::{Ledger, MemoryArchive};
use ledgerline::ledger::verify::{ArchiveSource, Names, ObjectReader, Options, Reason, SourceError, verify};
use std::io::{self, Read as _};

/// An archive in which something cannot be read.
struct Failing<'a> {
    archive: &'a MemoryArchive,
    fault: Fault,
    /// A prefix or a name.
    at: &'a str,
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    List,
    /// After the first name.
    Listing,
    Read,
    /// After the first byte.
    Reading,
}

struct NoMore;

impl io::Read for NoMore {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("the disk is gone"))
    }
}

fn gone(name: &str) -> SourceError {
    SourceError::new(name, "the disk is gone")
}

impl ArchiveSource for Failing<'_> {
    fn list<'s>(&'s self, prefix: &str) -> Result<Names<'s>, SourceError> {
        let names = self.archive.list(prefix)?;
        match self.fault {
            Fault::List if self.at == prefix => Err(gone(prefix)),
            Fault::Listing if self.at == prefix => Ok(Box::new(names.take(1).chain([Err(gone(prefix))]))),
            Fault::List | Fault::Listing | Fault::Read | Fault::Reading => Ok(names),
        }
    }

    fn read<'s>(&'s self, name: &str) -> Result<Option<ObjectReader<'s>>, SourceError> {
        let object = self.archive.read(name)?;
        match self.fault {
            Fault::Read if self.at == name => Err(gone(name)),
            Fault::Reading if self.at == name => {
                Ok(object.map(|object| Box::new(object.take(1).chain(NoMore)) as ObjectReader<'s>))
            }
            Fault::List | Fault::Listing | Fault::Read | Fault::Reading => Ok(object),
        }
    }
}

/// Every number of threads must end with what was to be read.
fn assert_unreadable(archive: &MemoryArchive, fault: Fault, at: &str) {
    for threads in [1, 2, 4] {
        let source = Failing { archive, fault, at };
        let options = Options {
            threads,
            ..Options::default()
        };
        let error = verify(&source, &options, &mut |_| {}).unwrap_err();
        assert_eq!(error.object, at, "{fault:?} by {threads} threads");
    }
}

#[test]
fn an_object_that_cannot_be_read_is_an_error_and_no_verdict() {
    let archive = Ledger::small().write();
    for name in archive.objects.keys() {
        assert_unreadable(&archive, Fault::Read, name);
        assert_unreadable(&archive, Fault::Reading, name);
    }
}

#[test]
fn a_listing_that_cannot_be_read_is_an_error_and_no_verdict() {
    let archive = Ledger::small().write();
    for prefix in ["", "acme/audit/0/", "acme/audit/1/"] {
        assert_unreadable(&archive, Fault::List, prefix);
        assert_unreadable(&archive, Fault::Listing, prefix);
    }
}

/// Lists fewer objects than can be read.
struct Forgetful<'a> {
    archive: &'a MemoryArchive,
    forgets: &'a str,
}

impl ArchiveSource for Forgetful<'_> {
    fn list<'s>(&'s self, prefix: &str) -> Result<Names<'s>, SourceError> {
        let names = self.archive.list(prefix)?;
        Ok(Box::new(
            names.filter(|name| name.as_deref().ok() != Some(self.forgets)),
        ))
    }

    fn read<'s>(&'s self, name: &str) -> Result<Option<ObjectReader<'s>>, SourceError> {
        self.archive.read(name)
    }
}

#[test]
fn a_listing_that_leaves_out_what_can_be_read_is_found() {
    let archive = Ledger::small().write();
    for forgets in [
        "acme/audit/1/tile/0/000.p/7",
        "acme/audit/1/checkpoints/00000000000000000016",
    ] {
        let source = Forgetful {
            archive: &archive,
            forgets,
        };
        let found = verify(&source, &Options::default(), &mut |_| {})
            .unwrap()
            .first_bad
            .unwrap();
        assert_eq!((found.reason, found.partition), (Reason::MissingObject, Some(1)));
    }
}
