//! What patient formats of several files share: tables found by the names of their files, and pseudonyms.

use std::cell::RefCell;

use thread_local::ThreadLocal;

use super::super::text::delimited::Header;
use super::super::{Found, InputFile, Place, ReadOptions};
use crate::person::{PersonKey, Pseudonym};
use crate::{Error, Result};

/// The table that a file's name names: `CONDITIONS.csv.gz` is `conditions`.
pub(super) fn table_name(place: &Place) -> Option<String> {
    place.bare_name().to_ascii_lowercase().strip_suffix(".csv").map(str::to_string)
}

/// A table's file among others. Two of them are an error: each event would be there twice.
pub(super) fn find(places: &[Place], table: &str) -> Result<Option<Place>> {
    let mut found = places.iter().filter(|place| table_name(place).as_deref() == Some(table));
    match (found.next(), found.next()) {
        (Some(first), Some(_)) => {
            let folder = first.path().parent().unwrap_or(first.path()).display();
            Err(Error::Invalid(format!("{folder}: more than one file of table {table}; keep one")))
        }
        (first, _) => Ok(first.cloned()),
    }
}

/// The files of these tables, each with the companions that `companions` names: the file given, or those of the folder.
pub(super) fn files(
    found: &Found,
    tables: &[&'static str],
    companions: impl Fn(&str) -> &'static [&'static str],
) -> Result<Vec<InputFile>> {
    let with_companions = |place: &Place, table: &str, all: &[Place]| {
        let mut beside = Vec::new();
        for name in companions(table) {
            beside.extend(find(all, name)?);
        }
        InputFile::with_companions(place, beside)
    };
    match found {
        Found::File(place) => {
            place.size()?;
            let table = table_name(place).filter(|name| tables.contains(&name.as_str())).ok_or_else(|| {
                let names = tables.join(", ");
                let path = place.path().display();
                Error::Invalid(format!("{path}: the name must be that of a table ({names}) with .csv"))
            })?;
            let beside = if companions(&table).is_empty() { Vec::new() } else { place.siblings()? };
            Ok(vec![with_companions(place, &table, &beside)?])
        }
        Found::Folder(path, places) => {
            let mut all = Vec::new();
            for table in tables {
                if let Some(place) = find(places, table)? {
                    all.push(with_companions(&place, table, places)?);
                }
            }
            if all.is_empty() {
                let names = tables.join(", ");
                return Err(Error::Invalid(format!("{}: no .csv file of {names} in it", path.display())));
            }
            Ok(all)
        }
    }
}

/// Masks these columns of rejected rows.
pub(super) fn mask(header: &mut Header, persons: &[&str]) {
    header.mask(|name| persons.iter().any(|person| person.eq_ignore_ascii_case(name)));
}

/// Makes pseudonyms of a source's persons.
pub(super) struct Persons {
    source: String,
    key: PersonKey,
    /// Each thread's last person: records of one stand together in most files.
    last: ThreadLocal<RefCell<(String, Pseudonym)>>,
}

impl Persons {
    pub(super) fn of(options: &ReadOptions) -> Self {
        Self { source: options.source.clone(), key: options.person_key.clone(), last: ThreadLocal::new() }
    }

    pub(super) fn pseudonym(&self, person: &str) -> Pseudonym {
        let hash = || self.key.hex(&self.source, person);
        let mut last = self.last.get_or(|| RefCell::new((person.to_string(), hash()))).borrow_mut();
        let (known, pseudonym) = &mut *last;
        if known != person {
            known.clear();
            known.push_str(person);
            *pseudonym = hash();
        }
        *pseudonym
    }
}
