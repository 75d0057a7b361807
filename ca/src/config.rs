//! The configuration file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use warifu_api::wire::authority::CrlIssuer;
use warifu_console::monitor::Monitor;
use warifu_console::{Kms, Settings, Token, plain_address};

/// How a ca is set up; TOML. Relative paths are relative to the folder that the file is in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The folder of the database and of the signed statement of keys. Made if it is not there.
    pub data: PathBuf,
    /// Its token.
    pub hsm: Token,
    /// The authority that it follows. The founding pins the authority's TLS key; if it is named here too, the two must agree.
    pub kms: Kms,
    /// CRLs.
    #[serde(default)]
    pub crl: Crls,
    /// Where it shows how it is, if anywhere.
    #[serde(default)]
    pub monitor: Option<Monitor>,
}

/// How CRLs are published.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crls {
    /// `http://…` under which the kms serves them; it goes into every certificate. Unless it is said: the kms's host, and the
    /// port after its own.
    pub url: Option<PlainUrl>,
    /// How long a CRL of the issuing CA is good for, in hours.
    #[serde(default)]
    pub hours: Hours,
    /// How long a CRL of the root is good for, in days.
    #[serde(default)]
    pub root_days: RootDays,
}

impl Crls {
    /// Where and for how long they are published, by a kms at `address` (`host:port`).
    #[must_use]
    pub fn publishing(&self, address: &str) -> Publishing {
        let url = match &self.url {
            Some(PlainUrl(url)) => url.clone(),
            None => format!("http://{}", plain_address(address)),
        };
        Publishing {
            url,
            issuing: Duration::from_secs(u64::from(self.hours.0) * 60 * 60),
            root: Duration::from_secs(u64::from(self.root_days.0) * 24 * 60 * 60),
        }
    }
}

/// Where CRLs and the certificates above them are published, and for how long CRLs are good.
#[derive(Debug, Clone)]
pub struct Publishing {
    url: String,
    issuing: Duration,
    root: Duration,
}

impl Publishing {
    /// The URL of this issuer's CRL.
    #[must_use]
    pub fn crl_url(&self, issuer: CrlIssuer) -> String {
        format!("{}{}", self.url, issuer.crl_path())
    }

    /// The URL of this issuer's own certificate.
    #[must_use]
    pub fn certificate_url(&self, issuer: CrlIssuer) -> String {
        format!("{}{}", self.url, issuer.certificate_path())
    }

    /// How long a CRL of this issuer is good for.
    #[must_use]
    pub fn lifetime(&self, issuer: CrlIssuer) -> Duration {
        match issuer {
            CrlIssuer::Issuing => self.issuing,
            CrlIssuer::Root => self.root,
        }
    }
}

/// Why a setting under `[crl]` is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CrlSettingError {
    /// It is no URL that other software fetches CRLs from.
    #[error("not a URL of the form http://host or http://host:port, with a path perhaps")]
    Url,
    /// It is too short or too long.
    #[error("not a number from {least} to {most}")]
    OutOfRange {
        /// The least.
        least: u32,
        /// The most.
        most: u32,
    },
}

/// An `http://` URL of at most 200 visible ASCII characters, without a slash at its end.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct PlainUrl(String);

impl TryFrom<String> for PlainUrl {
    type Error = CrlSettingError;

    fn try_from(url: String) -> Result<Self, CrlSettingError> {
        let visible = url.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>#?@".contains(&byte));
        let url = url.trim_end_matches('/');
        let host = url.strip_prefix("http://").ok_or(CrlSettingError::Url)?;
        if host.is_empty() || host.starts_with(['/', ':']) || !visible || url.len() > 200 {
            return Err(CrlSettingError::Url);
        }
        Ok(Self(url.to_owned()))
    }
}

fn within(value: u32, least: u32, most: u32) -> Result<u32, CrlSettingError> {
    if (least..=most).contains(&value) { Ok(value) } else { Err(CrlSettingError::OutOfRange { least, most }) }
}

/// From an hour to a week; a day unless it is said.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "u32")]
pub struct Hours(u32);

impl Default for Hours {
    fn default() -> Self {
        Self(24)
    }
}

impl TryFrom<u32> for Hours {
    type Error = CrlSettingError;

    fn try_from(hours: u32) -> Result<Self, CrlSettingError> {
        within(hours, 1, 7 * 24).map(Self)
    }
}

/// From a day to half a year; thirty days unless it is said.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "u32")]
pub struct RootDays(u32);

impl Default for RootDays {
    fn default() -> Self {
        Self(30)
    }
}

impl TryFrom<u32> for RootDays {
    type Error = CrlSettingError;

    fn try_from(days: u32) -> Result<Self, CrlSettingError> {
        within(days, 1, 180).map(Self)
    }
}

impl Settings for Config {
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

impl Config {
    /// The database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.data.join("ca.sqlite")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Crls, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn urls_are_plain_and_times_are_bounded() {
        let urls = |crls: &Crls| {
            let publishing = crls.publishing("kms.example:7443");
            (publishing.crl_url(CrlIssuer::Issuing), publishing.certificate_url(CrlIssuer::Root))
        };
        let derived =
            ("http://kms.example:7444/ca.crl".to_owned(), "http://kms.example:7444/root.cer".to_owned());
        assert_eq!(urls(&read("").unwrap()), derived);
        let given = read("url = \"http://pki.example/warifu/\"").unwrap();
        assert_eq!(urls(&given).0, "http://pki.example/warifu/ca.crl");
        for url in [
            "https://pki.example",
            "http://",
            "http:///x",
            "http://a b",
            "http://a?b",
            "http://a@b",
            "ftp://a",
        ] {
            assert!(read(&format!("url = \"{url}\"")).is_err(), "{url}");
        }
        for text in ["hours = 0", "hours = 169", "root_days = 0", "root_days = 181", "days = 1"] {
            assert!(read(text).is_err(), "{text}");
        }
        let bounds = read("hours = 168\nroot_days = 180").unwrap().publishing("kms:1");
        assert_eq!(bounds.lifetime(CrlIssuer::Issuing).as_secs(), 7 * 24 * 3600);
    }
}
