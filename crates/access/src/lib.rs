//! Who may see what: a request goes in, a [`Decision`] with its reasons comes out.
//!
//! This crate exists so that "may this user see this column for this purpose" is answered in one place, the same way
//! for every caller (minimum necessary, 164.502(b) and 164.514(d); unique users, 164.312(a)(2)(i)). It refuses to do
//! I/O, to read a clock, and to say more than the asker may know: a user without a grant, a user who does not exist
//! and a dataset that does not exist get the same decision.
//!
//! [`Authorizer`] is the seam. [`Grants`], written in the project's own file, is its first engine; another policy
//! engine (Apache Ranger's) answers through the same trait, which is why a [`Decision`] has room for row filters and
//! masks that grants never set. [`ranger`] is Ranger's model itself, complete and with its own request and decision;
//! [`Policies`] is whichever of the two a project has.
//!
//! ```
//! use cordon_access::{AccessFile, Action, Authorizer, Grant, Grants, Principal, Privilege, Purpose, Request, Role, User};
//!
//! let file = AccessFile {
//!     users: vec![User { name: "ada".into(), roles: vec!["analyst".into()] }],
//!     roles: vec![Role {
//!         name: "analyst".into(),
//!         grants: vec![Grant {
//!             datasets: vec!["fhir_*".into()],
//!             columns: vec!["*".into()],
//!             except: vec!["ssn".into()],
//!             purposes: vec![Purpose::Research],
//!         }],
//!         actions: vec![],
//!     }],
//!     ..AccessFile::default()
//! };
//! let grants = Grants::check(file)?;
//!
//! let columns = ["patient", "ssn", "city"];
//! let (ada, research) = (Principal::named("ada"), Purpose::Research.into());
//! let request = Request {
//!     principal: &ada,
//!     usage: &research,
//!     time: 1_700_000_000_000,
//!     dataset: "fhir_patient",
//!     columns: &columns,
//!     facts: &[],
//!     action: Action::Read,
//! };
//! assert_eq!(grants.decide(&request).columns, ["patient", "city"]);
//!
//! let curious = Request { usage: &Purpose::Payment.into(), ..request };
//! assert!(!grants.decide(&curious).allowed);
//! // What leads back to persons is granted by name, never by reading.
//! let reveal = Request { action: Action::Privileged(Privilege::Reveal), ..request };
//! assert!(!grants.decide(&reveal).allowed);
//! # Ok::<(), cordon_access::AccessError>(())
//! ```

mod decision;
mod error;
mod explain;
mod file;
mod grants;
mod output;
mod policies;
mod principal;
mod purpose;
pub mod ranger;
mod reveal;
mod service;
mod source;
mod wildcard;

pub use decision::{Action, Authorizer, Decision, Mask, Privilege, Reason, Request};
pub use error::{AccessError, Problem};
pub use explain::{Change, Difference, Entry, Known, Matrix, compare, mask_words};
pub use file::{AccessFile, ActionGrant, Alert, BreakGlassRules, Grant, Role, User};
pub use grants::{Dataset, Grants};
pub use output::{OutputLimits, OutputSection};
pub use policies::{ColumnSight, MaskSight, Policies, RowSight, Sight};
pub use principal::{Principal, PurposeOfUse};
pub use purpose::{Purpose, UnknownPurpose};
pub use reveal::{Approvals, BadLifetime, Lifetime, RevealRules, same_user};
pub use service::{ColumnFacts, Documents, PURPOSE, RESEARCH_PROJECT, Records, SERVICE_DEF, Service, apply_deltas};
pub use source::{AdminSection, RangerSection};
