//! Configuration files: TOML, with paths relative to the folder of the file.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::PublicKey;
use warifu_ledger::statement::{ServiceKind, ServiceStatement};
use warifu_split_key::point::Point;

use crate::token::STATEMENT;
use crate::{ConsoleError, Token, file};

/// A service's configuration.
pub trait Settings: DeserializeOwned {
    /// The folder of what the service keeps: its database and `statement.json`.
    fn data(&self) -> &Path;

    /// The paths in it, to be made absolute.
    fn paths(&mut self) -> Vec<&mut PathBuf>;

    /// The service's token.
    fn token(&mut self) -> &mut Token;

    /// Where `init` writes the signed statement of the service's keys.
    fn statement(&self) -> PathBuf {
        self.data().join(STATEMENT)
    }

    /// Reads a configuration file. Relative paths in it are relative to the folder it is in.
    ///
    /// # Errors
    /// [`ConsoleError::File`], [`ConsoleError::Config`].
    fn read(path: &Path) -> Result<Self, ConsoleError> {
        let text = std::fs::read_to_string(path).map_err(file::fault(path))?;
        Self::parse(&text, path)
    }

    /// What `text` says, the content of the configuration file `path`.
    ///
    /// # Errors
    /// [`ConsoleError::Config`].
    fn parse(text: &str, path: &Path) -> Result<Self, ConsoleError> {
        let mut settings: Self = toml::from_str(text)
            .map_err(|source| ConsoleError::Config { path: path.to_owned(), source: Box::new(source) })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for relative in settings.paths() {
            *relative = folder.join(&*relative);
        }
        settings.token().data = settings.data().to_owned();
        Ok(settings)
    }
}

/// `[kms]`: the authority that a service follows.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kms {
    /// `host:port`.
    pub address: String,
    /// The signed statement that the authority's `init` wrote.
    #[serde(default)]
    pub statement: Option<PathBuf>,
    /// In its place, the authority's TLS key: base64 of the compressed point, 33 bytes.
    #[serde(default)]
    pub tls_key: Option<PublicKey>,
}

impl Kms {
    /// The authority's TLS key, if the configuration names it.
    ///
    /// # Errors
    /// [`ConsoleError::KmsTwice`]; [`ConsoleError::NotTheKms`] if the statement is not signed by the key in it.
    pub fn key(&self) -> Result<Option<Point>, ConsoleError> {
        let path = match (&self.statement, &self.tls_key) {
            (None, key) => return Ok(key.map(|key| key.0)),
            (Some(path), None) => path,
            (Some(_), Some(_)) => return Err(ConsoleError::KmsTwice),
        };
        let envelope: Envelope = file::read_json(path)?;
        let not_the_kms = |_| ConsoleError::NotTheKms { path: path.clone() };
        let statement: ServiceStatement = envelope.statement().map_err(not_the_kms)?;
        envelope.verify(&statement.keys.signing).map_err(not_the_kms)?;
        match statement.service {
            ServiceKind::Kms => Ok(Some(statement.keys.tls.0)),
            _ => Err(ConsoleError::NotTheKms { path: path.clone() }),
        }
    }
}

/// Where the kms serves what is public over plain HTTP unless it is said: the host of `host:port`, and the port after that.
/// Port 0 stays: any will do.
#[must_use]
pub fn plain_address(address: &str) -> String {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    let port = match port.parse::<u16>() {
        Ok(0) => 0,
        Ok(port) => port.checked_add(1).unwrap_or(80),
        Err(_) => 80,
    };
    format!("{host}:{port}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{envelope_by_services, service_keys};

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        data: PathBuf,
        hsm: Token,
        kms: Kms,
    }

    impl Settings for Example {
        fn data(&self) -> &Path {
            &self.data
        }

        fn token(&mut self) -> &mut Token {
            &mut self.hsm
        }

        fn paths(&mut self) -> Vec<&mut PathBuf> {
            [&mut self.data].into_iter().chain(self.hsm.paths()).chain(&mut self.kms.statement).collect()
        }
    }

    const TEXT: &str = "data = \"data\"\n[hsm]\ntoken_label = \"ca\"\npin_file = \"secret/pin\"\n\
                        [kms]\naddress = \"kms.example:7443\"\nstatement = \"/srv/kms.json\"\n";

    fn read(folder: &Path, text: &str) -> Result<Example, ConsoleError> {
        let path = folder.join("example.toml");
        std::fs::write(&path, text).unwrap();
        Example::read(&path)
    }

    #[test]
    fn paths_are_relative_to_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let example = read(folder.path(), TEXT).unwrap();
        assert_eq!(example.data, folder.path().join("data"));
        assert_eq!(example.statement(), folder.path().join("data/statement.json"));
        assert_eq!(example.hsm.pin_file, folder.path().join("secret/pin"));
        assert_eq!(example.hsm.module, Path::new("/usr/lib/softhsm/libsofthsm2.so"), "the default");
        assert_eq!(example.kms.statement.as_deref(), Some(Path::new("/srv/kms.json")));
        assert_eq!(example.kms.address, "kms.example:7443");
    }

    #[test]
    fn what_is_unknown_or_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for (text, named) in [
            (format!("{TEXT}colour = \"red\"\n"), "colour"),
            (format!("data_dir = \"data\"\n{TEXT}"), "data_dir"),
            (TEXT.replace("token_label = \"ca\"\n", ""), "token_label"),
            (TEXT.replace("address", "adress"), "adress"),
        ] {
            let Err(ConsoleError::Config { path, source }) = read(folder.path(), &text) else {
                panic!("{named} was passed over")
            };
            assert_eq!(path, folder.path().join("example.toml"));
            assert!(source.to_string().contains(named), "{source}");
        }
        let missing = Example::read(&folder.path().join("none.toml"));
        assert!(matches!(missing, Err(ConsoleError::File { .. })));
    }

    fn kms(statement: Option<PathBuf>, tls_key: Option<PublicKey>) -> Kms {
        Kms { address: "kms.example:7443".to_owned(), statement, tls_key }
    }

    #[test]
    fn the_kms_is_known_by_one_source_that_it_signed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("statement.json");
        let keys = service_keys("kms");
        let statement =
            |service| ServiceStatement { service, keys: keys.clone(), address: Some("kms:1".to_owned()) };
        let key = || kms(Some(path.clone()), None).key();

        assert!(matches!(key(), Err(ConsoleError::File { .. })));
        std::fs::write(&path, "{}").unwrap();
        assert!(matches!(key(), Err(ConsoleError::Json { .. })));
        for (service, signers) in [
            (ServiceKind::Kms, &[][..]),
            (ServiceKind::Kms, &["ca"]),
            (ServiceKind::Ca, &["kms"]),
            (ServiceKind::Site, &["kms"]),
        ] {
            file::write_json(&path, &envelope_by_services(&statement(service), signers)).unwrap();
            assert!(matches!(key(), Err(ConsoleError::NotTheKms { .. })), "{service:?} {signers:?}");
        }
        file::write_json(&path, &envelope_by_services(&statement(ServiceKind::Kms), &["kms"])).unwrap();
        assert_eq!(key().unwrap(), Some(keys.tls.0));

        let twice = kms(Some(path.clone()), Some(keys.tls)).key();
        assert!(matches!(twice, Err(ConsoleError::KmsTwice)));
        assert_eq!(kms(None, Some(keys.tls)).key().unwrap(), Some(keys.tls.0));
        assert_eq!(kms(None, None).key().unwrap(), None);
    }

    #[test]
    fn the_plain_port_comes_after_the_other() {
        for (address, plain) in [
            ("kms.example:7443", "kms.example:7444"),
            ("[::1]:0", "[::1]:0"),
            ("0.0.0.0:65535", "0.0.0.0:80"),
        ] {
            assert_eq!(plain_address(address), plain);
        }
    }
}
