//! Users, roles and grants, checked: what the program uses.

use std::collections::BTreeMap;

use crate::decision::{Action, Authorizer, Decision, Privilege, Reason, Request};
use crate::error::{AccessError, Problem, nearest};
use crate::file::{AccessFile, ActionGrant, Grant, Role, User};
use crate::output::{OutputLimits, OutputRules};
use crate::purpose::Purpose;
use crate::wildcard::{Wildcard, fold};

/// The access file after [`Grants::check`]: every role that a user has exists, and nothing is empty.
#[derive(Clone, Debug)]
pub struct Grants {
    /// User to indexes into `roles`, in the order of the user's list.
    users: BTreeMap<String, Vec<usize>>,
    roles: Vec<CheckedRole>,
    output: OutputRules,
}

#[derive(Clone, Debug)]
struct CheckedRole {
    name: String,
    /// Where the role stands in the file.
    index: usize,
    grants: Vec<CheckedGrant>,
    actions: Vec<ActionGrant>,
}

#[derive(Clone, Debug)]
struct CheckedGrant {
    datasets: Vec<Wildcard>,
    columns: Vec<Wildcard>,
    /// Folded; match folded names only.
    except: Vec<Wildcard>,
    purposes: Vec<Purpose>,
    file: Grant,
}

/// A dataset that exists, for [`Grants::unmatched`].
#[derive(Clone, Copy, Debug)]
pub struct Dataset<'a> {
    pub name: &'a str,
    pub columns: &'a [&'a str],
}

impl Grants {
    /// Everything that is wrong is reported at once.
    pub fn check(file: AccessFile) -> Result<Self, AccessError> {
        let mut problems = Vec::new();
        check_users(&file.users, &file.roles, &mut problems);
        check_roles(&file.roles, &mut problems);
        if let Some(ranger) = &file.ranger {
            ranger.check(&file.roles, &mut problems);
        }
        let output = OutputRules::check(file.output_control, &mut problems);
        if !problems.is_empty() {
            return Err(AccessError { problems });
        }
        let roles: Vec<_> = file.roles.into_iter().enumerate().map(CheckedRole::new).collect();
        let by_name: BTreeMap<&str, usize> =
            roles.iter().enumerate().map(|(index, role)| (role.name.as_str(), index)).collect();
        let users = file
            .users
            .into_iter()
            .map(|user| {
                let of_user = user.roles.iter().filter_map(|role| by_name.get(role.as_str()).copied());
                (user.name, of_user.collect())
            })
            .collect();
        Ok(Self { users, roles, output })
    }

    /// Whether the user may see anything of the dataset for the purpose, whatever its columns are. For a dataset whose
    /// columns cannot be read, to tell whose business the damage is.
    pub fn covers(&self, user: &str, purpose: Purpose, dataset: &str) -> bool {
        self.roles_of(user)
            .flat_map(|role| &role.grants)
            .any(|grant| grant.purposes.contains(&purpose) && any(&grant.datasets, dataset))
    }

    fn roles_of(&self, user: &str) -> impl Iterator<Item = &CheckedRole> {
        self.users.get(user).into_iter().flatten().filter_map(|index| self.roles.get(*index))
    }

    /// Only what a role's `actions` name; no grant to read counts.
    fn decide_privileged(&self, request: &Request<'_>, privilege: Privilege) -> Decision {
        let mut why = Vec::new();
        for role in self.roles_of(&request.principal.name) {
            for (index, entry) in role.actions.iter().enumerate() {
                if entry.allow.contains(&privilege) && entry.purposes.contains(&request.usage.purpose) {
                    why.push(Reason::Action { role: role.name.clone(), action: index });
                }
            }
        }
        if why.is_empty() {
            return Decision::denied();
        }
        Decision { allowed: true, why, ..Decision::denied() }
    }

    /// The names of a user's roles.
    pub fn role_names(&self, user: &str) -> impl Iterator<Item = &str> {
        self.roles_of(user).map(|role| role.name.as_str())
    }

    /// Whether there is a role of this name.
    pub fn defines(&self, role: &str) -> bool {
        self.roles.iter().any(|known| known.name == role)
    }

    /// The users, by name.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(String::as_str)
    }

    /// Names in grants that fit nothing that exists. None of them opens anything by itself, but an `except` that fits
    /// no column is most likely a slip of the pen that leaves a column open.
    pub fn unmatched(&self, datasets: &[Dataset<'_>]) -> Vec<Problem> {
        let mut problems = Vec::new();
        for role in &self.roles {
            for (index, grant) in role.grants.iter().enumerate() {
                let at = format!("/roles/{}/grants/{index}", role.index);
                grant.unmatched(&at, datasets, &mut problems);
            }
        }
        self.output.unmatched(datasets, &mut problems);
        problems
    }

    /// What the statistics of a dataset are held to; `None` where rows may leave.
    pub fn output_limits(&self, dataset: &str) -> Option<OutputLimits> {
        self.output.of(dataset)
    }

    /// For how many seconds answers are remembered, where any dataset's output is controlled.
    pub fn output_remembered(&self) -> Option<u64> {
        self.output.remember()
    }
}

impl Authorizer for Grants {
    /// The union of what the user's roles grant for the purpose.
    fn decide(&self, request: &Request<'_>) -> Decision {
        if let Action::Privileged(privilege) = request.action {
            return self.decide_privileged(request, privilege);
        }
        let mut visible = vec![false; request.columns.len()];
        let mut why = Vec::new();
        for role in self.roles_of(&request.principal.name) {
            for (index, grant) in role.grants.iter().enumerate() {
                if grant.open(request, &mut visible) {
                    why.push(Reason::Grant { role: role.name.clone(), grant: index });
                }
            }
        }
        if why.is_empty() {
            return Decision::denied();
        }
        let columns = request.columns.iter().zip(visible).filter(|(_, seen)| *seen);
        Decision {
            allowed: true,
            why,
            columns: columns.map(|(name, _)| (*name).to_owned()).collect(),
            row_filter: None,
            masks: BTreeMap::new(),
        }
    }
}

impl CheckedRole {
    fn new((index, role): (usize, Role)) -> Self {
        let grants = role.grants.into_iter().map(CheckedGrant::new).collect();
        Self { name: role.name, index, grants, actions: role.actions }
    }
}

impl CheckedGrant {
    fn new(file: Grant) -> Self {
        let exact = |patterns: &[String]| patterns.iter().map(|p| Wildcard::new(p)).collect();
        Self {
            datasets: exact(&file.datasets),
            columns: exact(&file.columns),
            except: file.except.iter().map(|p| Wildcard::folded(p)).collect(),
            purposes: file.purposes.clone(),
            file,
        }
    }

    /// Marks what this grant lets the asker see; true if that is anything.
    fn open(&self, request: &Request<'_>, visible: &mut [bool]) -> bool {
        if !self.purposes.contains(&request.usage.purpose) || !any(&self.datasets, request.dataset) {
            return false;
        }
        let mut opened = false;
        for (name, seen) in request.columns.iter().zip(visible) {
            if self.shows(name) {
                *seen = true;
                opened = true;
            }
        }
        opened
    }

    /// Allowing is exact and excepting is not, so that a doubt about case hides a column.
    fn shows(&self, column: &str) -> bool {
        any(&self.columns, column) && !any(&self.except, &fold(column))
    }

    fn unmatched(&self, at: &str, datasets: &[Dataset<'_>], problems: &mut Vec<Problem>) {
        for (index, (name, pattern)) in self.file.datasets.iter().zip(&self.datasets).enumerate() {
            if !datasets.iter().any(|dataset| pattern.matches(dataset.name)) {
                let known = datasets.iter().map(|dataset| dataset.name);
                problems.push(unmatched(format!("{at}/datasets/{index}"), "dataset", name, known));
            }
        }
        let covered = || datasets.iter().filter(|dataset| any(&self.datasets, dataset.name));
        let columns = || covered().flat_map(|dataset| dataset.columns.iter().copied());
        if covered().next().is_none() {
            return;
        }
        for (index, (name, pattern)) in self.file.columns.iter().zip(&self.columns).enumerate() {
            if !columns().any(|column| pattern.matches(column)) {
                problems.push(unmatched(format!("{at}/columns/{index}"), "column", name, columns()));
            }
        }
        for (index, (name, pattern)) in self.file.except.iter().zip(&self.except).enumerate() {
            if !columns().any(|column| pattern.matches(&fold(column))) {
                problems.push(unmatched(format!("{at}/except/{index}"), "column", name, columns()));
            }
        }
    }
}

fn any(patterns: &[Wildcard], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name))
}

fn unmatched<'a>(at: String, noun: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Problem {
    let help = match nearest(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "correct the name, or remove it".to_owned(),
    };
    Problem { at, what: format!("no {noun} is named `{name}`"), help }
}

fn check_roles(roles: &[Role], problems: &mut Vec<Problem>) {
    let mut seen = BTreeMap::new();
    for (index, role) in roles.iter().enumerate() {
        let at = format!("/roles/{index}");
        check_name(&format!("{at}/name"), "role", &role.name, &mut seen, problems);
        if role.grants.is_empty() && role.actions.is_empty() {
            let what = format!("role `{}` grants nothing", role.name);
            problems.push(problem(format!("{at}/grants"), what, "give it at least one grant, or remove the role"));
        }
        for (grant_index, grant) in role.grants.iter().enumerate() {
            check_grant(&format!("{at}/grants/{grant_index}"), grant, problems);
        }
        for (action_index, action) in role.actions.iter().enumerate() {
            check_action(&format!("{at}/actions/{action_index}"), action, problems);
        }
    }
}

fn check_action(at: &str, action: &ActionGrant, problems: &mut Vec<Problem>) {
    if action.allow.is_empty() {
        let names = Privilege::ALL.map(Privilege::name).join(", ");
        let what = "nothing is allowed here".to_owned();
        problems.push(problem(format!("{at}/allow"), what, &format!("name at least one of: {names}")));
    }
    check_purposes(at, "the entry", &action.purposes, problems);
}

fn check_purposes(at: &str, noun: &str, purposes: &[Purpose], problems: &mut Vec<Problem>) {
    if purposes.is_empty() {
        let names = Purpose::ALL.map(Purpose::name).join(", ");
        let what = format!("{noun} has no purposes");
        problems.push(problem(format!("{at}/purposes"), what, &format!("name at least one of: {names}")));
    }
}

fn check_grant(at: &str, grant: &Grant, problems: &mut Vec<Problem>) {
    let lists = [
        ("datasets", &grant.datasets, "name a dataset, or a pattern such as `fhir_*`"),
        ("columns", &grant.columns, "name the columns that may be seen, or \"*\" for all"),
    ];
    for (key, names, help) in lists {
        if names.is_empty() {
            problems.push(problem(format!("{at}/{key}"), format!("the grant has no {key}"), help));
        }
        check_patterns(&format!("{at}/{key}"), names, problems);
    }
    check_patterns(&format!("{at}/except"), &grant.except, problems);
    if grant.except.iter().any(|name| name.chars().all(|c| c == '*') && !name.is_empty()) {
        let what = "the grant takes back everything that it gives".to_owned();
        problems.push(problem(format!("{at}/except"), what, "name single columns, or remove the grant"));
    }
    check_purposes(at, "the grant", &grant.purposes, problems);
}

fn check_patterns(at: &str, names: &[String], problems: &mut Vec<Problem>) {
    for (index, name) in names.iter().enumerate() {
        if name.trim() != name || name.is_empty() {
            let what = "a name is empty or has blanks around it".to_owned();
            problems.push(problem(format!("{at}/{index}"), what, "write the name as the dataset has it"));
        }
    }
}

fn check_users(users: &[User], roles: &[Role], problems: &mut Vec<Problem>) {
    let mut seen = BTreeMap::new();
    for (index, user) in users.iter().enumerate() {
        let at = format!("/users/{index}");
        check_name(&format!("{at}/name"), "user", &user.name, &mut seen, problems);
        if user.roles.is_empty() {
            let what = format!("user `{}` has no role", user.name);
            problems.push(problem(format!("{at}/roles"), what, "give the user a role, or remove the user"));
        }
        for (role_index, role) in user.roles.iter().enumerate() {
            let at = format!("{at}/roles/{role_index}");
            if user.roles.iter().take(role_index).any(|earlier| earlier == role) {
                let what = format!("role `{role}` is listed twice");
                problems.push(problem(at, what, "list it once"));
            } else if !roles.iter().any(|defined| defined.name == *role) {
                problems.push(unknown_role(at, role, roles));
            }
        }
    }
}

fn unknown_role(at: String, role: &str, roles: &[Role]) -> Problem {
    let names = || roles.iter().map(|role| role.name.as_str());
    let help = match nearest(role, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if roles.is_empty() => "define it under `roles`".to_owned(),
        None => format!("define it under `roles`, or use one of: {}", names().collect::<Vec<_>>().join(", ")),
    };
    Problem { at, what: format!("no role is named `{role}`"), help }
}

/// Names of users and roles: one line, no wildcard that a reader could take for "everybody", unique without regard to
/// case.
fn check_name(at: &str, noun: &str, name: &str, seen: &mut BTreeMap<String, String>, problems: &mut Vec<Problem>) {
    if name.is_empty() || name.trim() != name || name.chars().any(|c| c.is_control() || c == '*' || c == '?') {
        let what = format!("the {noun}'s name is empty, or has blanks around it, a wildcard or a control character");
        problems.push(problem(at.to_owned(), what, &format!("give one {noun} one plain name")));
        return;
    }
    let first = seen.entry(fold(name)).or_insert_with(|| at.to_owned());
    if first != at {
        let what = format!("{noun} `{name}` is already defined at {first}");
        problems.push(problem(
            at.to_owned(),
            what,
            &format!("define each {noun} once; case alone does not tell two apart"),
        ));
    }
}

fn problem(at: String, what: String, help: &str) -> Problem {
    Problem { at, what, help: help.to_owned() }
}
