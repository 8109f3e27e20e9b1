//! Which name nodes an address means, who asks there, and that it is private.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use cordon_keystore::is_loopback;
use hdfs_native::ClientBuilder;
use tokio::runtime::Handle;

use super::guard::{Guard, NameNode, Service, Verdict};
use crate::connect::Connector;
use crate::error::{StorageError, Trouble};

/// Where none is named, as Hadoop's own clients have it.
const PORT: u16 = 8020;
/// Where the client looks for files of its own: nowhere, as all that it may know it is told.
const NO_FOLDER: &str = "/dev/null";
/// What of a cluster's configuration is passed on. Nothing of it decides on protection.
const PASSED_ON: [&str; 6] = [
    "dfs.client.use.datanode.hostname",
    "dfs.client.socket-timeout",
    "dfs.client.block.write.replace-datanode-on-failure.enable",
    "dfs.client.block.write.replace-datanode-on-failure.policy",
    "dfs.client.block.write.replace-datanode-on-failure.best-effort",
    "hadoop.security.authentication",
];
const CONFIG_DIR: &str = "config-dir";

/// A client that is not connected yet, and what guards it.
pub(super) struct Reached {
    pub client: ClientBuilder,
    pub guards: Vec<Guard>,
    pub verdict: Verdict,
}

impl Connector<'_> {
    pub(super) fn reach(&self, handle: &Handle) -> Result<Reached, StorageError> {
        let settings = self.settings;
        let elsewhere = [
            ("endpoint", settings.endpoint.is_some()),
            ("region", settings.region.is_some()),
            ("account", settings.account.is_some()),
            ("ca-file", settings.ca_file.is_some()),
            ("profile", settings.profile.is_some()),
            ("server-encryption", settings.server_encryption.is_some()),
        ];
        if let Some((what, _)) = elsewhere.into_iter().find(|(_, given)| *given) {
            return Err(self.setting(what, "HDFS has no such setting: see `config-dir` and `principal`"));
        }
        let cluster = Cluster { said: self.site()? };
        let nodes = cluster.name_nodes(self.location.bucket()).map_err(|help| self.setting(CONFIG_DIR, help))?;
        let local = nodes.iter().all(|node| is_loopback(&node.host));
        let protection = cluster.protection(local).map_err(|help| self.setting(CONFIG_DIR, help))?;
        let mut config: HashMap<String, String> =
            PASSED_ON.iter().filter_map(|name| Some(((*name).to_owned(), cluster.get(name)?.to_owned()))).collect();
        if protection.kerberos {
            config.insert("hadoop.security.authentication".to_owned(), "kerberos".to_owned());
            config.insert("dfs.data.transfer.protection".to_owned(), "privacy".to_owned());
        }
        // Trying again is done here, with a limit of time.
        config.insert("dfs.client.failover.max.attempts".to_owned(), (2 * nodes.len() - 1).to_string());
        config.insert("dfs.client.failover.sleep.base.millis".to_owned(), "200".to_owned());
        config.insert("dfs.client.failover.sleep.max.millis".to_owned(), "1000".to_owned());

        let verdict = Verdict::default();
        let (mut guards, mut addresses) = (Vec::new(), Vec::new());
        for node in nodes {
            if !protection.sealed {
                addresses.push(format!("{}:{}", node.host, node.port));
                continue;
            }
            let guard = Guard::start(handle, node, &verdict).map_err(|_| self.error(Trouble::Interrupted))?;
            addresses.push(guard.address.to_string());
            guards.push(guard);
        }
        let url = match addresses.as_slice() {
            [one] => format!("hdfs://{one}"),
            several => {
                let service = self.location.bucket();
                let names: Vec<String> = (0..several.len()).map(|number| format!("nn{number}")).collect();
                for (name, address) in names.iter().zip(several) {
                    config.insert(format!("dfs.namenode.rpc-address.{service}.{name}"), address.clone());
                }
                config.insert(format!("dfs.ha.namenodes.{service}"), names.join(","));
                format!("hdfs://{service}")
            }
        };
        let client = ClientBuilder::new().with_url(url).with_config_dir(NO_FOLDER).with_config(config);
        let client = if protection.kerberos { self.identity(client)? } else { client };
        Ok(Reached { client: client.with_io_runtime(handle.clone()), guards, verdict })
    }

    /// Who asks: whom Kerberos' own variables name, or one of two whom the project tells apart.
    fn identity(&self, client: ClientBuilder) -> Result<ClientBuilder, StorageError> {
        let Some(principal) = &self.settings.principal else {
            return if self.settings.env_prefix.is_some() {
                Err(self.setting(
                    "principal",
                    "with `env-prefix`, say whose ticket or keytab it is: `principal: NAME@REALM`",
                ))
            } else {
                Ok(client)
            };
        };
        let mut client = client.with_kerberos_principal(principal);
        if let Some(cache) = self.var("KRB5CCNAME") {
            client = client.with_kerberos_cache(cache);
        }
        if let Some(keytab) = self.var("KRB5_CLIENT_KTNAME") {
            client = client.with_kerberos_keytab(keytab);
        }
        Ok(client)
    }

    /// What `core-site.xml` and `hdfs-site.xml` say; nothing where there is no such folder.
    fn site(&self) -> Result<HashMap<String, String>, StorageError> {
        let of_project = self.settings.config_dir.as_ref().map(|folder| self.folder.join(folder));
        let named = of_project.is_some();
        let folder = of_project
            .or_else(|| self.var("HADOOP_CONF_DIR").map(PathBuf::from))
            .or_else(|| self.var("HADOOP_HOME").map(|home| Path::new(&home).join("etc/hadoop")));
        let Some(folder) = folder else { return Ok(HashMap::new()) };
        let (mut said, mut files) = (HashMap::new(), 0);
        for name in ["core-site.xml", "hdfs-site.xml"] {
            let path = folder.join(name);
            match std::fs::read_to_string(&path) {
                Ok(text) => {
                    said.extend(properties(&text).map_err(|help| self.setting(CONFIG_DIR, help))?);
                    files += 1;
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(self.error(Trouble::File { path: path.display().to_string(), kind: error.kind() }));
                }
            }
        }
        if named && files == 0 {
            return Err(self.setting(CONFIG_DIR, "neither core-site.xml nor hdfs-site.xml is in that folder"));
        }
        Ok(said)
    }
}

/// The properties of a configuration file of Hadoop's.
fn properties(text: &str) -> Result<Vec<(String, String)>, &'static str> {
    let options = roxmltree::ParsingOptions { allow_dtd: false, ..roxmltree::ParsingOptions::default() };
    let document = roxmltree::Document::parse_with_options(text, options)
        .map_err(|_| "core-site.xml or hdfs-site.xml is no well-formed XML, or has a document type")?;
    let mut found = Vec::new();
    for node in document.root_element().children().filter(roxmltree::Node::is_element) {
        // What would be included might say that nothing is protected.
        if node.tag_name().name() == "include" {
            return Err("core-site.xml or hdfs-site.xml includes another file: write what it says into the file");
        }
        let of = |name: &str| {
            let child = node.children().find(|child| child.has_tag_name(name))?;
            Some(child.text().unwrap_or_default().trim().to_owned())
        };
        if let (Some(name), Some(value)) = (of("name"), of("value")) {
            found.push((name, value));
        }
    }
    Ok(found)
}

/// What a cluster's configuration says.
struct Cluster {
    said: HashMap<String, String>,
}

/// How what goes to and fro is protected.
#[derive(Debug, PartialEq, Eq)]
struct Protection {
    kerberos: bool,
    /// Whether what is not sealed may not pass.
    sealed: bool,
}

impl Cluster {
    fn get(&self, name: &str) -> Option<&str> {
        self.said.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// One, or those of a name service.
    fn name_nodes(&self, authority: &str) -> Result<Vec<NameNode>, &'static str> {
        let Some(names) = self.get(&format!("dfs.ha.namenodes.{authority}")) else {
            let (host, port) = split(authority).ok_or("the address of the name node has no port that is a number")?;
            return Ok(vec![self.name_node(host, port.unwrap_or(PORT))]);
        };
        let mut nodes = Vec::new();
        for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let address = self.get(&format!("dfs.namenode.rpc-address.{authority}.{name}"));
            let (host, port) = address
                .and_then(split)
                .ok_or("a name node of the name service has no `dfs.namenode.rpc-address` of the form HOST:PORT")?;
            nodes.push(self.name_node(host, port.unwrap_or(PORT)));
        }
        if nodes.is_empty() {
            Err("the name service has no name nodes: `dfs.ha.namenodes` is empty")
        } else {
            Ok(nodes)
        }
    }

    fn name_node(&self, host: &str, port: u16) -> NameNode {
        let principal = self.get("dfs.namenode.kerberos.principal").unwrap_or_default();
        let without_realm = principal.split('@').next().unwrap_or_default();
        let service = match without_realm.split_once('/') {
            Some((service, "_HOST")) => Service::Named(service.to_owned(), host.to_owned()),
            Some((service, of)) => Service::Named(service.to_owned(), of.to_owned()),
            None => Service::OfHost,
        };
        NameNode { host: host.to_owned(), port, service }
    }

    /// Elsewhere everything is sealed. On this machine that may be given up, as TLS may.
    fn protection(&self, local: bool) -> Result<Protection, &'static str> {
        let kerberos = match self.get("hadoop.security.authentication") {
            Some("simple") | None if local => false,
            Some("kerberos") | None => true,
            Some("simple") => {
                return Err(
                    "`hadoop.security.authentication` is `simple`: a cluster that is not on this machine is spoken to over Kerberos only",
                );
            }
            Some(_) => return Err("`hadoop.security.authentication` must be `kerberos`"),
        };
        let private = |value: &str| value.split(',').any(|one| one.trim().eq_ignore_ascii_case("privacy"));
        let rpc = self.get("hadoop.rpc.protection").is_none_or(private);
        // With this the name node itself sees to it, and tells the client so.
        let encrypted = self.is_true("dfs.encrypt.data.transfer");
        let privileged = self.get("dfs.datanode.address").and_then(split);
        let privileged = privileged.is_some_and(|(_, port)| port.is_some_and(|port| (1..1024).contains(&port)));
        let transfer = encrypted || !privileged && self.get("dfs.data.transfer.protection").is_none_or(private);
        match (local, rpc, transfer) {
            (false, false, _) => Err("`hadoop.rpc.protection` is not `privacy`: requests would go in clear"),
            (false, true, false) => Err(
                "neither is `dfs.encrypt.data.transfer` true nor `dfs.data.transfer.protection` `privacy` on ports \
                     from 1024 on: what files hold would go in clear",
            ),
            (false, true, true) => Ok(Protection { kerberos, sealed: true }),
            (true, rpc, _) => Ok(Protection { kerberos, sealed: kerberos && rpc }),
        }
    }
}

/// Host and port; IPv6 addresses stand in brackets.
fn split(authority: &str) -> Option<(&str, Option<u16>)> {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => Some((host, Some(port.parse().ok()?))),
        _ => Some((authority, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(said: &[(&str, &str)]) -> Cluster {
        Cluster { said: said.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect() }
    }

    #[test]
    fn elsewhere_everything_is_sealed() {
        let of = |local: bool, said: &[(&str, &str)]| cluster(said).protection(local).ok();
        let sealed = Some(Protection { kerberos: true, sealed: true });
        let (auth, rpc) = ("hadoop.security.authentication", "hadoop.rpc.protection");
        let transfer = "dfs.data.transfer.protection";
        // What a configuration does not say is taken as the safe one.
        assert_eq!(of(false, &[]), sealed);
        assert_eq!(of(false, &[(auth, "kerberos"), (rpc, "authentication,privacy"), (transfer, "privacy")]), sealed);
        assert_eq!(of(false, &[(transfer, "authentication"), ("dfs.encrypt.data.transfer", "true")]), sealed);
        for said in [
            &[(auth, "simple")][..],
            &[(auth, "${mode}")],
            &[(rpc, "integrity")],
            &[(rpc, "${protection}")],
            &[(transfer, "authentication,integrity")],
            &[("dfs.datanode.address", "0.0.0.0:1004")],
        ] {
            assert_eq!(of(false, said), None, "{said:?}");
        }
        // On this machine a cluster may do without, and is guarded where it says that it is private.
        assert_eq!(of(true, &[]), Some(Protection { kerberos: false, sealed: false }));
        assert_eq!(of(true, &[(auth, "kerberos")]), sealed);
        assert_eq!(
            of(true, &[(auth, "kerberos"), (rpc, "integrity")]),
            Some(Protection { kerberos: true, sealed: false })
        );
    }

    #[test]
    fn name_nodes_are_found() {
        let said = cluster(&[
            ("dfs.ha.namenodes.clinic", "a, b"),
            ("dfs.namenode.rpc-address.clinic.a", "a.example:9820"),
            ("dfs.namenode.rpc-address.clinic.b", "b.example"),
            ("dfs.ha.namenodes.broken", "a"),
            ("dfs.namenode.kerberos.principal", "nn/_HOST@EXAMPLE"),
        ]);
        let node = |host: &str, port| NameNode {
            host: host.to_owned(),
            port,
            service: Service::Named("nn".to_owned(), host.to_owned()),
        };
        assert_eq!(said.name_nodes("clinic"), Ok(vec![node("a.example", 9820), node("b.example", PORT)]));
        assert_eq!(said.name_nodes("c.example:1"), Ok(vec![node("c.example", 1)]));
        assert_eq!(said.name_nodes("[::1]:1"), Ok(vec![node("[::1]", 1)]));
        assert!(said.name_nodes("broken").is_err() && said.name_nodes("c.example:x").is_err());
        let plain =
            cluster(&[]).name_nodes("c.example").map(|nodes| nodes.into_iter().map(|node| node.service).collect());
        assert_eq!(plain, Ok(vec![Service::OfHost]));
    }

    #[test]
    fn configuration_files_are_read_or_refused() {
        let text = "<?xml version=\"1.0\"?><configuration><!-- x --><property><name>a</name><value> b </value></property>\
                    <property><name>c</name><final>true</final></property></configuration>";
        assert_eq!(properties(text), Ok(vec![("a".to_owned(), "b".to_owned())]));
        for text in [
            "<configuration>",
            "<!DOCTYPE a [<!ENTITY b \"c\">]><configuration>&b;</configuration>",
            "<configuration xmlns:xi=\"http://www.w3.org/2001/XInclude\"><xi:include href=\"a\"/></configuration>",
        ] {
            assert!(properties(text).is_err(), "{text}");
        }
    }
}
