//! What expressions of policies see of a request: Ranger's names and macros.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::Problem;
use super::engine::Options;
use super::expr::{FUNCTIONS, Fault, Host, Program, Value, run};
use super::matcher::Tokens;
use super::model::UserStore;
use super::request::{MatchType, Request};
use super::tags::TagForEval;
use super::time;

/// Everything an evaluation looks at besides the policies.
pub(crate) struct Scene<'a> {
    pub(crate) request: &'a Request,
    pub(crate) options: &'a Options,
    pub(crate) users: &'a UserStore,
    pub(crate) groups: &'a [String],
    pub(crate) roles: &'a [String],
    pub(crate) client_ip: Option<&'a str>,
    pub(crate) tags: &'a [TagForEval],
    /// The tag whose policies are looked at.
    pub(crate) current: Option<&'a TagForEval>,
    pub(crate) zones: &'a [String],
    pub(crate) troubles: &'a RefCell<Vec<Problem>>,
}

impl<'a> Scene<'a> {
    pub(crate) fn with_tag(&self, tag: &'a TagForEval) -> Scene<'a> {
        Scene { current: Some(tag), ..*self }
    }

    /// Runs a condition: true, false, or what kept it from being told.
    pub(crate) fn condition(&self, program: &Program) -> Result<bool, Fault> {
        let environment = Environment { scene: self, result: Cell::new(false) };
        let value = run(program, &environment)?;
        Ok(match value {
            Value::Bool(flag) => flag,
            value if value.is_nullish() => environment.result.get(),
            _ => false,
        })
    }

    /// Runs an expression for its text.
    pub(crate) fn text(&self, program: &Program) -> Result<String, Fault> {
        let environment = Environment { scene: self, result: Cell::new(false) };
        let value = run(program, &environment)?;
        if value.is_nullish() { Ok(String::new()) } else { value.show() }
    }

    fn user_attributes(&self) -> Option<&'a BTreeMap<String, String>> {
        let user = self.request.user.as_deref()?;
        if self.request.user_attributes.is_empty() {
            self.users.user_attributes.get(user)
        } else {
            self.request.user_attributes.get(user)
        }
    }

    fn group_attributes(&self) -> impl Iterator<Item = (&'a str, Option<&'a BTreeMap<String, String>>)> {
        let all = if self.request.group_attributes.is_empty() {
            &self.users.group_attributes
        } else {
            &self.request.group_attributes
        };
        self.groups.iter().map(move |group| (group.as_str(), all.get(group)))
    }

    fn group_attribute(&self, name: &str) -> Vec<&'a str> {
        let mut out: Vec<&str> = Vec::new();
        for value in self.group_attributes().filter_map(|(_, attributes)| attributes?.get(name)) {
            if !out.contains(&value.as_str()) {
                out.push(value);
            }
        }
        out
    }

    fn tag_names(&self) -> BTreeSet<&'a str> {
        self.tags.iter().map(|tag| tag.tag_type.as_str()).collect()
    }

    fn tag_attribute(&self, name: &str) -> Vec<&'a str> {
        let mut out: Vec<&str> = Vec::new();
        for value in self.tags.iter().filter_map(|tag| tag.attributes.get(name)) {
            if !out.contains(&value.as_str()) {
                out.push(value);
            }
        }
        out
    }
}

impl Tokens for Scene<'_> {
    fn any(&self) -> bool {
        self.request.user.is_some() || self.request.resource.owner.is_some() || !self.request.context.is_empty()
    }

    fn token(&self, name: &str) -> Option<Cow<'_, str>> {
        let value = match name {
            "USER" => self.request.user.as_deref(),
            "OWNER" => self.request.resource.owner.as_deref(),
            _ => None,
        };
        value
            .map(Cow::Borrowed)
            .or_else(|| self.request.context.get(&format!("token:{name}")).map(|value| Cow::Borrowed(value.as_str())))
    }

    fn expression(&self, program: &Program) -> Option<String> {
        match self.text(program) {
            Ok(text) => Some(text),
            Err(Fault::Thrown(_)) => Some(String::new()),
            Err(Fault::Unsupported(_)) => None,
        }
    }
}

const CTX: u32 = 1;
const TAG: u32 = 2;
const TAG_ATTRIBUTES: u32 = 3;

struct Environment<'s, 'a> {
    scene: &'s Scene<'a>,
    result: Cell<bool>,
}

/// Macros: the name in an expression and the method of `ctx` that it stands for.
const MACROS: &[(&str, &str)] = &[
    ("exit", "quit"),
    ("quit", "quit"),
    ("GET_TAG_NAMES", "tagNames"),
    ("GET_TAG_NAMES_Q", "tagNamesQ"),
    ("GET_TAG_ATTR_NAMES", "tagAttrNames"),
    ("GET_TAG_ATTR_NAMES_Q", "tagAttrNamesQ"),
    ("GET_TAG_ATTR", "tagAttr"),
    ("GET_TAG_ATTR_Q", "tagAttrQ"),
    ("GET_UG_NAMES", "ugNames"),
    ("GET_UG_NAMES_Q", "ugNamesQ"),
    ("GET_UG_ATTR_NAMES", "ugAttrNames"),
    ("GET_UG_ATTR_NAMES_Q", "ugAttrNamesQ"),
    ("GET_UG_ATTR", "ugAttr"),
    ("GET_UG_ATTR_Q", "ugAttrQ"),
    ("GET_UR_NAMES", "urNames"),
    ("GET_UR_NAMES_Q", "urNamesQ"),
    ("GET_USER_ATTR_NAMES", "userAttrNames"),
    ("GET_USER_ATTR_NAMES_Q", "userAttrNamesQ"),
    ("GET_USER_ATTR", "userAttr"),
    ("GET_USER_ATTR_Q", "userAttrQ"),
    ("GET_TAG_ATTR_CSV", "tagAttr"),
    ("GET_TAG_ATTR_Q_CSV", "tagAttrQ"),
    ("GET_UG_ATTR_CSV", "ugAttr"),
    ("GET_UG_ATTR_Q_CSV", "ugAttrQ"),
    ("TAG_ATTR_NAMES_CSV", "tagAttrNames"),
    ("TAG_ATTR_NAMES_Q_CSV", "tagAttrNamesQ"),
    ("TAG_NAMES_CSV", "tagNames"),
    ("TAG_NAMES_Q_CSV", "tagNamesQ"),
    ("UG_ATTR_NAMES_CSV", "ugAttrNames"),
    ("UG_ATTR_NAMES_Q_CSV", "ugAttrNamesQ"),
    ("UG_NAMES_CSV", "ugNames"),
    ("UG_NAMES_Q_CSV", "ugNamesQ"),
    ("UR_NAMES_CSV", "urNames"),
    ("UR_NAMES_Q_CSV", "urNamesQ"),
    ("USER_ATTR_NAMES_CSV", "userAttrNames"),
    ("USER_ATTR_NAMES_Q_CSV", "userAttrNamesQ"),
    ("HAS_TAG", "hasTag"),
    ("HAS_ANY_TAG", "hasAnyTag"),
    ("HAS_NO_TAG", "hasNoTag"),
    ("HAS_USER_ATTR", "hasUserAttr"),
    ("HAS_UG_ATTR", "hasUgAttr"),
    ("HAS_TAG_ATTR", "hasTagAttr"),
    ("IS_IN_GROUP", "isInGroup"),
    ("IS_IN_ROLE", "isInRole"),
    ("IS_IN_ANY_GROUP", "isInAnyGroup"),
    ("IS_IN_ANY_ROLE", "isInAnyRole"),
    ("IS_NOT_IN_ANY_GROUP", "isNotInAnyGroup"),
    ("IS_NOT_IN_ANY_ROLE", "isNotInAnyRole"),
    ("IS_ACCESS_TIME_AFTER", "isAccessTimeAfter"),
    ("IS_ACCESS_TIME_BEFORE", "isAccessTimeBefore"),
    ("IS_ACCESS_TIME_BETWEEN", "isAccessTimeBetween"),
];

fn text(arguments: &[Value], index: usize) -> Result<Option<String>, Fault> {
    match arguments.get(index) {
        None | Some(Value::Undefined | Value::Null) => Ok(None),
        Some(value) => value.show().map(Some),
    }
}

fn object<'v>(fields: impl IntoIterator<Item = (&'v str, Value)>) -> Value {
    Value::Object(Rc::new(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()))
}

fn attributes(attributes: Option<&BTreeMap<String, String>>, more: &[(&str, &str)]) -> Value {
    let fields = attributes.into_iter().flatten().map(|(name, value)| (name.as_str(), Value::text(value)));
    object(fields.chain(more.iter().map(|(name, value)| (*name, Value::text(value)))))
}

fn match_type(lies: MatchType) -> &'static str {
    match lies {
        MatchType::SelfMatch => "SELF",
        MatchType::SelfAndAllDescendants => "SELF_AND_ALL_DESCENDANTS",
        MatchType::Ancestor => "ANCESTOR",
        MatchType::Descendant => "DESCENDANT",
        MatchType::None => "NONE",
    }
}

fn tag_object(tag: &TagForEval) -> Value {
    attributes(Some(&tag.attributes), &[("_type", &tag.tag_type), ("_matchType", match_type(tag.match_type))])
}

/// Values as one text: separated, and quoted where `quoted`.
fn joined(values: &[&str], arguments: &[Value], quoted: bool) -> Result<Value, Fault> {
    let option = |index: usize, absent: &str| -> Result<String, Fault> {
        match arguments.get(index) {
            None | Some(Value::Undefined) => Ok(absent.to_owned()),
            Some(Value::Null) => Ok(String::new()),
            Some(value) => value.show(),
        }
    };
    let separator = option(1, ",")?;
    let (open, close) = if quoted {
        let open = option(2, "'")?;
        let close = match text(arguments, 3)? {
            Some(close) => close,
            None => open.clone(),
        };
        (open, close)
    } else {
        (String::new(), String::new())
    };
    let default = text(arguments, 0)?;
    if values.is_empty() {
        return Ok(default.map_or(Value::text(""), |default| Value::text(&format!("{open}{default}{close}"))));
    }
    let mut out = String::new();
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push_str(&separator);
        }
        out.push_str(&open);
        out.push_str(value);
        out.push_str(&close);
    }
    Ok(Value::Text(Rc::from(out)))
}

impl Environment<'_, '_> {
    fn request(&self) -> Value {
        let scene = self.scene;
        let request = scene.request;
        let or_undefined = |text: Option<&str>| text.map_or(Value::Undefined, Value::text);
        object([
            ("accessTime", request.access_time.map_or(Value::Undefined, |time| Value::Number(time as f64))),
            ("accessType", Value::text(&request.access_type)),
            ("action", or_undefined(request.action.as_deref())),
            ("clientIPAddress", or_undefined(scene.client_ip)),
            ("clientType", or_undefined(request.client_type.as_deref())),
            ("clusterName", or_undefined(request.cluster_name.as_deref())),
            ("clusterType", or_undefined(request.cluster_type.as_deref())),
            ("forwardedAddresses", Value::texts(&request.forwarded_addresses)),
            ("remoteIPAddress", or_undefined(request.remote_ip_address.as_deref())),
            ("requestData", or_undefined(request.request_data.as_deref())),
            ("sessionId", or_undefined(request.session_id.as_deref())),
            ("resource", self.resource()),
            (
                "resourceMatchingScope",
                Value::text(match request.matching_scope {
                    super::request::MatchingScope::SelfOnly => "SELF",
                    super::request::MatchingScope::SelfOrDescendants => "SELF_OR_DESCENDANTS",
                }),
            ),
            ("user", or_undefined(request.user.as_deref())),
            ("userGroups", Value::texts(scene.groups)),
            ("userRoles", Value::texts(scene.roles)),
            ("userAttributes", self.user()),
            ("userGroupAttributes", self.groups()),
            ("uga", self.uga()),
        ])
    }

    fn resource(&self) -> Value {
        let resource = &self.scene.request.resource;
        let mut fields: Vec<(&str, Value)> = Vec::new();
        for (name, values) in &resource.elements {
            let value = match values.as_slice() {
                [one] => Value::text(one),
                many => Value::texts(many),
            };
            fields.push((name, value));
        }
        if let Some(owner) = &resource.owner {
            fields.push(("_ownerUser", Value::text(owner)));
        }
        object(fields)
    }

    fn user(&self) -> Value {
        let name = self.scene.request.user.as_deref();
        let more: Vec<(&str, &str)> = name.map(|name| ("_name", name)).into_iter().collect();
        attributes(self.scene.user_attributes(), &more)
    }

    fn groups(&self) -> Value {
        object(self.scene.group_attributes().map(|(name, of)| (name, attributes(of, &[("_name", name)]))))
    }

    fn uga(&self) -> Value {
        let mut all: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (_, of) in self.scene.group_attributes() {
            for (name, value) in of.into_iter().flatten() {
                let values = all.entry(name).or_default();
                if !values.contains(&value.as_str()) {
                    values.push(value);
                }
            }
        }
        object([
            ("sVal", object(all.iter().filter_map(|(name, values)| Some((*name, Value::text(values.first()?)))))),
            ("mVal", object(all.iter().map(|(name, values)| (*name, Value::texts(values))))),
        ])
    }

    fn tags(&self) -> Value {
        object(self.scene.tags.iter().map(|tag| (tag.tag_type.as_str(), tag_object(tag))))
    }

    fn current(&self) -> Value {
        self.scene.current.map_or(Value::Null, tag_object)
    }

    fn date(&self, given: Option<String>) -> Option<i64> {
        time::date(&given?, &self.scene.options.date_formats)
    }

    fn tag_date(&self, name: &str) -> Option<i64> {
        self.date(self.scene.current?.attributes.get(name).cloned())
    }

    fn method(&self, method: &str, arguments: &[Value]) -> Result<Value, Fault> {
        let scene = self.scene;
        let request = scene.request;
        let first = || text(arguments, 0);
        let name = || -> Result<String, Fault> { Ok(text(arguments, 0)?.unwrap_or_default()) };
        let rest = arguments.get(1..).unwrap_or(&[]);
        let (plain, quoted) = match method.strip_suffix('Q') {
            Some(plain) => (plain, true),
            None => (method, false),
        };
        let number = |time: Option<i64>| time.map_or(Value::Null, |time| Value::Number(time as f64));
        Ok(match plain {
            "quit" => Value::Null,
            "tagNames" => joined(&scene.tag_names().into_iter().collect::<Vec<_>>(), arguments, quoted)?,
            "tagAttrNames" => {
                let names: BTreeSet<&str> =
                    scene.tags.iter().flat_map(|tag| tag.attributes.keys().map(String::as_str)).collect();
                joined(&names.into_iter().collect::<Vec<_>>(), arguments, quoted)?
            }
            "tagAttr" => joined(&scene.tag_attribute(&name()?), rest, quoted)?,
            "ugNames" => joined(&sorted(scene.groups), arguments, quoted)?,
            "ugAttrNames" => {
                let names: BTreeSet<&str> = scene
                    .group_attributes()
                    .flat_map(|(_, of)| of.into_iter().flatten().map(|(name, _)| name.as_str()))
                    .collect();
                joined(&names.into_iter().collect::<Vec<_>>(), arguments, quoted)?
            }
            "ugAttr" => joined(&scene.group_attribute(&name()?), rest, quoted)?,
            "urNames" => joined(&sorted(scene.roles), arguments, quoted)?,
            "userAttrNames" => {
                let names: Vec<&str> =
                    scene.user_attributes().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
                joined(&names, arguments, quoted)?
            }
            "userAttr" => {
                let name = name()?;
                let value: Vec<&str> =
                    scene.user_attributes().and_then(|of| of.get(&name)).map(String::as_str).into_iter().collect();
                joined(&value, rest, quoted)?
            }
            "hasTag" => Value::Bool(scene.tag_names().contains(name()?.as_str())),
            "hasAnyTag" => Value::Bool(!scene.tags.is_empty()),
            "hasNoTag" => Value::Bool(scene.tags.is_empty()),
            "hasUserAttr" => {
                Value::Bool(scene.user_attributes().is_some_and(|of| name().is_ok_and(|name| of.contains_key(&name))))
            }
            "hasUgAttr" => Value::Bool(!scene.group_attribute(&name()?).is_empty()),
            "hasTagAttr" => Value::Bool(!scene.tag_attribute(&name()?).is_empty()),
            "isInGroup" => Value::Bool(scene.groups.contains(&name()?)),
            "isInRole" => Value::Bool(scene.roles.contains(&name()?)),
            "isInAnyGroup" => Value::Bool(!scene.groups.is_empty()),
            "isInAnyRole" => Value::Bool(!scene.roles.is_empty()),
            "isNotInAnyGroup" => Value::Bool(scene.groups.is_empty()),
            "isNotInAnyRole" => Value::Bool(scene.roles.is_empty()),
            "isAccessTimeAfter" | "isAccessTimeBefore" | "isAccessTimeBetween" => {
                let between = plain == "isAccessTimeBetween";
                let zone = match text(arguments, if between { 2 } else { 1 })? {
                    Some(name) => match time::Zone::named(&name) {
                        Some(zone) => zone,
                        None => return Err(Fault::Thrown("a time zone is unknown".to_owned())),
                    },
                    None => scene.options.time_zone,
                };
                let at = |index: usize| -> Result<Option<i64>, Fault> {
                    match text(arguments, index)? {
                        None => Ok(None),
                        Some(text) => {
                            time::moment(&text, zone).map(Some).ok_or_else(|| Fault::Thrown("not a moment".to_owned()))
                        }
                    }
                };
                let (from, to) = match plain {
                    "isAccessTimeAfter" => (at(0)?, None),
                    "isAccessTimeBefore" => (None, at(0)?),
                    _ => (at(0)?, at(1)?),
                };
                Value::Bool(match (request.access_time, from, to) {
                    (Some(time), Some(from), Some(to)) => from <= time && time < to,
                    (Some(time), Some(from), None) => time > from,
                    (Some(time), None, Some(to)) => time < to,
                    (None, ..) | (Some(_), None, None) => false,
                })
            }
            "getResource" => {
                let parts: Vec<&str> = request
                    .resource
                    .elements
                    .iter()
                    .flat_map(|(_, values)| values.iter().map(String::as_str))
                    .collect();
                Value::text(&parts.join("/"))
            }
            "getResourceZone" => Value::or_null(scene.zones.first().map(String::as_str)),
            "getResourceZones" => Value::texts(scene.zones),
            "getRequestContextAttribute" => Value::or_null(request.context.get(&name()?).map(String::as_str)),
            "isAccessTypeAny" => Value::Bool(request.access_type.is_empty()),
            "isAccessTypeDelegatedAdmin" => Value::Bool(request.access_type == "_admin"),
            "getUser" => Value::or_null(request.user.as_deref()),
            "getUserGroups" => Value::texts(scene.groups),
            "getUserRoles" => Value::texts(scene.roles),
            "getAccessType" => Value::text(&request.access_type),
            "getAccessTime" => number(request.access_time),
            "getClientIPAddress" => Value::or_null(scene.client_ip),
            "getClientType" => Value::or_null(request.client_type.as_deref()),
            "getAction" => Value::or_null(request.action.as_deref()),
            "getRequestData" => Value::or_null(request.request_data.as_deref()),
            "getSessionId" => Value::or_null(request.session_id.as_deref()),
            "getCurrentTag" | "getTag" => {
                if scene.current.is_some() {
                    Value::Native(TAG)
                } else {
                    Value::Null
                }
            }
            "getCurrentTagType" => Value::or_null(scene.current.map(|tag| tag.tag_type.as_str())),
            "getAllTagTypes" => Value::texts(scene.tag_names()),
            "getTagAttributes" => {
                let wanted = name()?;
                scene
                    .tags
                    .iter()
                    .find(|tag| tag.tag_type == wanted)
                    .map_or(Value::Null, |tag| attributes(Some(&tag.attributes), &[]))
            }
            "getTagAttributesForAllMatchingTags" => {
                let wanted = name()?;
                Value::List(Rc::new(
                    scene
                        .tags
                        .iter()
                        .filter(|tag| tag.tag_type == wanted)
                        .map(|tag| attributes(Some(&tag.attributes), &[]))
                        .collect(),
                ))
            }
            "getAttributeNames" => {
                let wanted = name()?;
                scene
                    .tags
                    .iter()
                    .find(|tag| tag.tag_type == wanted)
                    .map_or(Value::Null, |tag| Value::texts(tag.attributes.keys()))
            }
            "getAttributeValue" => {
                let first = name()?;
                let (tag, attribute) = match text(arguments, 1)? {
                    Some(attribute) => (scene.tags.iter().find(|tag| tag.tag_type == first), attribute),
                    None => (scene.current, first),
                };
                Value::or_null(tag.and_then(|tag| tag.attributes.get(&attribute)).map(String::as_str))
            }
            "getAttributeValueForAllMatchingTags" => {
                let (wanted, attribute) = (name()?, text(arguments, 1)?.unwrap_or_default());
                Value::texts(
                    scene
                        .tags
                        .iter()
                        .filter(|tag| tag.tag_type == wanted)
                        .filter_map(|tag| tag.attributes.get(&attribute)),
                )
            }
            "getResult" => Value::Bool(self.result.get()),
            "setResult" => {
                self.set(arguments.first());
                Value::Undefined
            }
            "getAsDate" => number(self.date(first()?)),
            "getTagAttributeAsDate" => {
                let (wanted, attribute) = (name()?, text(arguments, 1)?.unwrap_or_default());
                let tag = scene.tags.iter().find(|tag| tag.tag_type == wanted);
                number(self.date(tag.and_then(|tag| tag.attributes.get(&attribute)).cloned()))
            }
            "isAccessedAfter" | "isAccessedBefore" => {
                let date = match text(arguments, 1)? {
                    Some(attribute) => {
                        let wanted = name()?;
                        let tag = scene.tags.iter().find(|tag| tag.tag_type == wanted);
                        self.date(tag.and_then(|tag| tag.attributes.get(&attribute)).cloned())
                    }
                    None => self.tag_date(&name()?),
                };
                // Without a date everything is after it, as with Ranger: the condition stands on items that deny.
                Value::Bool(match (plain, date, request.access_time) {
                    ("isAccessedAfter", Some(date), Some(time)) => time >= date,
                    (_, Some(date), Some(time)) => time <= date,
                    (after, ..) => after == "isAccessedAfter",
                })
            }
            "logDebug" | "logInfo" | "logWarn" | "logError" | "logFatal" => Value::Undefined,
            _ => return Err(Fault::Unsupported(format!("`{method}` of the context is not interpreted"))),
        })
    }

    fn set(&self, value: Option<&Value>) {
        self.result.set(value.is_some_and(Value::truthy));
    }
}

fn sorted(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect::<BTreeSet<_>>().into_iter().collect()
}

impl Host for Environment<'_, '_> {
    fn global(&self, name: &str) -> Option<Result<Value, Fault>> {
        if let Some(at) = MACROS.iter().position(|(known, _)| *known == name) {
            return Some(Ok(Value::Native(FUNCTIONS + at as u32)));
        }
        let scene = self.scene;
        Some(Ok(match name {
            "ctx" | "_ctx" => Value::Native(CTX),
            "REQ" => self.request(),
            "RES" => self.resource(),
            "USER" => self.user(),
            "UGNAMES" => Value::texts(sorted(scene.groups)),
            "UG" => self.groups(),
            "UGA" => self.uga(),
            "URNAMES" => Value::texts(sorted(scene.roles)),
            "TAG" => self.current(),
            "TAGS" => self.tags(),
            "TAGNAMES" => Value::texts(scene.tag_names()),
            "J" => object([
                ("req", self.request()),
                ("tag", self.current()),
                ("tags", self.tags()),
                ("tagNames", Value::texts(scene.tag_names())),
            ]),
            "tag" => {
                if scene.current.is_some() {
                    Value::Native(TAG)
                } else {
                    Value::Null
                }
            }
            "tagAttr" => {
                if scene.current.is_some() {
                    Value::Native(TAG_ATTRIBUTES)
                } else {
                    Value::Null
                }
            }
            "java" | "Packages" | "javax" | "Java" => {
                return Some(Err(Fault::Thrown(format!("`{name}` is out of reach"))));
            }
            _ => return None,
        }))
    }

    fn member(&self, native: u32, name: &str) -> Result<Value, Fault> {
        match native {
            CTX => {
                let mut getter = String::from("get");
                let mut letters = name.chars();
                getter.extend(letters.next().into_iter().flat_map(char::to_uppercase));
                getter.push_str(letters.as_str());
                match self.method(&getter, &[]) {
                    Err(Fault::Unsupported(_)) if name.starts_with("is") || name.starts_with("get") => {
                        Err(Fault::Unsupported("a method of the context is used as a value".to_owned()))
                    }
                    Err(Fault::Unsupported(_)) => Ok(Value::Undefined),
                    other => other,
                }
            }
            TAG => Ok(match (name, self.scene.current) {
                ("type", Some(tag)) => Value::text(&tag.tag_type),
                ("attributes", Some(_)) => Value::Native(TAG_ATTRIBUTES),
                _ => Value::Undefined,
            }),
            TAG_ATTRIBUTES => Ok(self
                .scene
                .current
                .and_then(|tag| tag.attributes.get(name))
                .map_or(Value::Undefined, |value| Value::text(value))),
            _ => Ok(Value::Undefined),
        }
    }

    fn call(&self, native: u32, method: &str, arguments: &[Value]) -> Result<Value, Fault> {
        let tag = self.scene.current;
        match (native, method) {
            (CTX, _) => self.method(method, arguments),
            (TAG, "getType") => Ok(Value::or_null(tag.map(|tag| tag.tag_type.as_str()))),
            (TAG, "getAttributes") => Ok(Value::Native(TAG_ATTRIBUTES)),
            (TAG, "getMatchType") => Ok(Value::or_null(tag.map(|tag| match_type(tag.match_type)))),
            (TAG_ATTRIBUTES, "get") => {
                let name = text(arguments, 0)?.unwrap_or_default();
                Ok(Value::or_null(tag.and_then(|tag| tag.attributes.get(&name)).map(String::as_str)))
            }
            (TAG_ATTRIBUTES, "containsKey") => {
                let name = text(arguments, 0)?.unwrap_or_default();
                Ok(Value::Bool(tag.is_some_and(|tag| tag.attributes.contains_key(&name))))
            }
            _ => Err(Fault::Unsupported(format!("`{method}` is not interpreted"))),
        }
    }

    fn call_function(&self, native: u32, arguments: &[Value]) -> Result<Value, Fault> {
        match native.checked_sub(FUNCTIONS).and_then(|at| MACROS.get(at as usize)) {
            Some((_, method)) => self.method(method, arguments),
            None => Err(Fault::Thrown("what is called is no function".to_owned())),
        }
    }

    fn assign(&self, native: u32, name: &str, value: &Value) -> Result<(), Fault> {
        if native == CTX && name == "result" {
            self.set(Some(value));
            return Ok(());
        }
        Err(Fault::Unsupported(format!("`{name}` cannot be assigned")))
    }
}

/// A text with expressions in it, such as `dept = '${{USER.dept}}'`.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    parts: Vec<TemplatePart>,
}

#[derive(Clone, Debug)]
enum TemplatePart {
    Text(String),
    Expression(Program),
    Broken,
}

impl Template {
    /// Reads it; what is wrong with an expression is handed to `fault`.
    pub(crate) fn of(text: &str, fault: &mut dyn FnMut(String)) -> Self {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, body)) = rest.split_once("${{") {
            let Some((source, after)) = body.split_once("}}") else { break };
            parts.push(TemplatePart::Text(before.to_owned()));
            match Program::parse(&unbracketed(source)) {
                Ok(program) => parts.push(TemplatePart::Expression(program)),
                Err(what) => {
                    fault(what);
                    parts.push(TemplatePart::Broken);
                }
            }
            rest = after;
        }
        parts.push(TemplatePart::Text(rest.to_owned()));
        Self { parts }
    }

    /// The text for this request; none where an expression cannot be interpreted.
    pub(crate) fn text(&self, scene: &Scene<'_>) -> Result<String, Fault> {
        let told = self.parts.iter().any(|part| matches!(part, TemplatePart::Expression(_)));
        let names = scene.request.user.iter().chain(scene.groups).chain(scene.roles);
        if told && !names.map(String::as_str).all(is_plain) {
            return Err(Fault::Unsupported("a name in the request has signs that could end a literal".to_owned()));
        }
        let mut out = String::new();
        for part in &self.parts {
            match part {
                TemplatePart::Text(text) => out.push_str(text),
                TemplatePart::Expression(program) => match scene.text(program) {
                    Ok(text) => out.push_str(&text),
                    Err(Fault::Thrown(_)) => {}
                    Err(fault) => return Err(fault),
                },
                TemplatePart::Broken => return Err(Fault::Unsupported("an expression cannot be read".to_owned())),
            }
        }
        Ok(out)
    }
}

/// Whether a text can stand in a filter as it is: nothing in it ends a literal there.
pub(crate) fn is_plain(text: &str) -> bool {
    !text.contains(['\'', '"', '`', '\\', ';'])
}

/// Ranger's short form `[[expr,'|']]` for a text that is split into a list.
pub(crate) fn unbracketed(source: &str) -> String {
    let mut out = String::new();
    let mut rest = source;
    while let Some((before, body)) = rest.split_once("[[") {
        let Some((inner, after)) = body.split_once("]]") else { break };
        out.push_str(before);
        let (expression, by) = match inner.rsplit_once(',') {
            Some((expression, by)) => (expression.trim(), by.trim().trim_matches(['\'', '"'])),
            None => (inner.trim(), ","),
        };
        out.push_str(expression);
        out.push_str(".split(\"");
        for c in by.chars() {
            if c == '"' || c == '\\' {
                out.push('\\');
            }
            out.push(c);
        }
        out.push_str("\")");
        rest = after;
    }
    out.push_str(rest);
    out
}
