//! The files of AWS's own tools, `~/.aws/config` and `~/.aws/credentials`
//! (<https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html>).

use std::collections::BTreeMap;
use std::fs;

use zeroize::Zeroizing;

use super::Surroundings;
use crate::error::Trouble;
use crate::http::read_private;
use crate::secret::Text;

/// Sections by their heads; a profile's is under its name, another's as `sso-session NAME`.
#[derive(Default)]
pub(super) struct Profiles(BTreeMap<String, Profile>);

#[derive(Default)]
pub(super) struct Profile(BTreeMap<String, Text>);

impl Profile {
    pub(super) fn get(&self, key: &str) -> Option<&Text> {
        self.0.get(key).filter(|value| !value.is_empty())
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Whether credentials come of it, in whatever way.
    fn gives_credentials(&self) -> bool {
        [
            "aws_access_key_id",
            "role_arn",
            "sso_session",
            "sso_start_url",
            "credential_process",
            "web_identity_token_file",
        ]
        .into_iter()
        .any(|key| self.has(key))
    }
}

impl Profiles {
    pub(super) fn read(around: &Surroundings) -> Result<Self, Trouble> {
        let place = |variable: &str, default: &str| {
            let of_home = || around.home().map(|home| home.join(".aws").join(default));
            around.path(variable).or_else(of_home).filter(|path| path.exists())
        };
        let mut profiles = Self::default();
        if let Some(path) = place("AWS_CONFIG_FILE", "config") {
            let text = fs::read(&path).map(Zeroizing::new).map_err(|error| Trouble::NoCredentials {
                what: format!("cannot read {}: {}", path.display(), error.kind()),
            })?;
            profiles.add(&text, |head| match head.strip_prefix("profile ") {
                Some(name) => Some(name.trim().to_owned()),
                None if head == "default" || head.starts_with("sso-session ") => Some(head.to_owned()),
                None => None,
            });
        }
        // What is in both counts as it is in this one.
        if let Some(path) = place("AWS_SHARED_CREDENTIALS_FILE", "credentials") {
            let text = Zeroizing::new(read_private(&path).map_err(|what| Trouble::NoCredentials { what })?);
            profiles.add(&text, |head| Some(head.to_owned()));
        }
        Ok(profiles)
    }

    fn add(&mut self, text: &[u8], name_of: impl Fn(&str) -> Option<String>) {
        let text = std::str::from_utf8(text).unwrap_or_default();
        let mut within = None;
        // Below a key without a value stand settings of one service.
        let mut nests = false;
        for line in text.lines().filter(|line| !line.trim_start().starts_with(['#', ';'])) {
            let trimmed = line.trim();
            if let Some(head) = trimmed.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
                within = name_of(&head.split_whitespace().collect::<Vec<_>>().join(" "));
                nests = false;
            } else if let (Some(name), Some((key, value))) = (&within, trimmed.split_once('=')) {
                if nests && line.starts_with([' ', '\t']) {
                    continue;
                }
                let value = value.trim();
                nests = value.is_empty();
                let profile = self.0.entry(name.clone()).or_default();
                profile.0.insert(key.trim().to_ascii_lowercase(), Zeroizing::new(value.to_owned()));
            }
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Profile> {
        self.0.get(name)
    }

    pub(super) fn gives_credentials(&self, name: &str) -> bool {
        self.get(name).is_some_and(Profile::gives_credentials)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_read_as_awss_own_tools_do() {
        let mut profiles = Profiles::default();
        let config = "[profile lake]\nregion = eu-west-1\nservices =\n  endpoint_url = https://elsewhere\n[profile  other ]\n region=x\n\
                      [sso-session us]\nsso_region = us-east-1\n[services s]\nregion = no\n[lake]\nregion = no\n";
        profiles.add(config.as_bytes(), |head| head.strip_prefix("profile ").map(str::to_owned));
        let credentials =
            "[default]\naws_access_key_id = d\n# region = y\n[lake]\nAWS_SECRET_ACCESS_KEY = s = 1\nregion=us-east-2\n";
        profiles.add(credentials.as_bytes(), |head| Some(head.to_owned()));
        let value = |name: &str, key: &str| {
            profiles.get(name).and_then(|profile| profile.get(key)).map(|text| text.as_str().to_owned())
        };
        assert_eq!(value("lake", "aws_secret_access_key").as_deref(), Some("s = 1"));
        assert_eq!(value("lake", "region").as_deref(), Some("us-east-2"));
        assert_eq!(value("lake", "endpoint_url"), None);
        assert_eq!(value("other", "region").as_deref(), Some("x"));
        assert_eq!(value("default", "region"), None);
        assert!(profiles.gives_credentials("default") && !profiles.gives_credentials("other"));
    }
}
