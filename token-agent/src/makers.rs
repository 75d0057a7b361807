//! Card makers whose word on where a key was made is taken.

use std::io;
use std::path::{Path, PathBuf};

use warifu_ledger::Digest;
use warifu_texts::{Message, Spoken, system};

/// The certificates (DER) of card makers' authorities that are known here, by their SHA-256: what Yubico publishes at
/// <https://developers.yubico.com/PKI/>. From firmware 5.7.4 on, cards prove by authorities between them and the root
/// that they do not carry, so these are known as well.
const KNOWN: [&str; 8] = [
    // Yubico PIV Root CA Serial 263751, and the same key's certificate from before 2018.
    "63ece914e54dd87915f34033c85af4c0696ba1512f8add66ced738331207b546",
    "7e996a28e3055223733c9aec897900eda9b746e3e15d419556ac6a1179879a50",
    // Yubico Attestation Root 1.
    "62760c6a6ef91679f454c8902b80fd009825b3f25da90f1fbace2ec6586cd5a8",
    // Yubico Attestation Intermediate A 1 and B 1.
    "4698a1d3389c3ec60016c216250f1d0439922832d65142327436376dc2942b55",
    "d4cc3f456fdaf4e7812a21aab1dfe9d8e27d24e2fd2d6f21c9940109f0daa754",
    // Yubico PIV Attestation A 1, B 1 and B2 1.
    "6de693f05376f5d8ca29069261e1c8626c75d503bd2edbfd75354cad1f722870",
    "2d55b7998f4e42569d6d8fa382b6dc77d1dacf07358b19701163892922b17052",
    "0c90b7d184a36edf50a35f9be935f0c5689bfdcfe5bdd073366cafb49061a440",
];

/// Why a maker's word is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MakerError {
    /// The file cannot be read.
    #[error("{path} cannot be read")]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// It is neither PEM nor DER.
    #[error("{path} is no certificate")]
    NotACertificate {
        /// The file.
        path: PathBuf,
    },
    /// It has certificates of nobody who is known here, or was vouched for.
    #[error("{path} holds certificates of no card maker that is known here, first {fingerprint}")]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The SHA-256 of its first certificate (DER).
        fingerprint: Digest,
    },
}

impl Spoken for MakerError {
    fn message(&self) -> Message {
        match self {
            Self::File { path, source } => Message::new("run-file-unreadable")
                .with("path", path.display())
                .with_message("why", system(source)),
            Self::NotACertificate { path } => {
                Message::new("run-not-a-certificate").with("path", path.display())
            }
            Self::Unknown { path, fingerprint } => Message::new("run-maker-unknown")
                .with("path", path.display())
                .with("fingerprint", fingerprint),
        }
    }
}

/// The certificates (DER) in these files (PEM or DER), by which cards are judged. Where a file comes from does not matter:
/// only certificates of makers that are known here count, and those among `others`, which somebody has compared.
///
/// # Errors
/// [`MakerError`].
pub fn trusted(files: &[PathBuf], others: &[Digest]) -> Result<Vec<Vec<u8>>, MakerError> {
    let mut trusted = Vec::new();
    for path in files {
        let bytes = std::fs::read(path).map_err(|source| MakerError::File { path: path.clone(), source })?;
        // Makers publish files with what they sign for other purposes as well.
        let (known, unknown): (Vec<_>, Vec<_>) = certificates(bytes, path)?.into_iter().partition(|der| {
            let fingerprint = Digest::of(der);
            others.contains(&fingerprint) || KNOWN.contains(&fingerprint.to_string().as_str())
        });
        match (known.is_empty(), unknown.first()) {
            (true, Some(first)) => {
                return Err(MakerError::Unknown { path: path.clone(), fingerprint: Digest::of(first) });
            }
            (true, None) => return Err(MakerError::NotACertificate { path: path.clone() }),
            (false, _) => trusted.extend(known),
        }
    }
    Ok(trusted)
}

/// The certificates in a PEM file, or the one that is a DER file.
fn certificates(bytes: Vec<u8>, path: &Path) -> Result<Vec<Vec<u8>>, MakerError> {
    if !bytes.windows(10).any(|window| window == b"-----BEGIN") {
        return Ok(vec![bytes]);
    }
    x509_parser::pem::Pem::iter_from_buffer(&bytes)
        .map(|pem| Ok(pem.map_err(|_| MakerError::NotACertificate { path: path.to_owned() })?.contents))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_certificate_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("maker.pem");
        std::fs::write(&path, b"-----BEGIN CERTIFICATE-----\nMIIB").unwrap();
        assert!(matches!(trusted(&[path], &[]), Err(MakerError::NotACertificate { .. })));
    }

    #[test]
    fn a_certificate_of_nobody_known_is_taken_from_whoever_compared_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("maker.der");
        std::fs::write(&path, [0x30]).unwrap();
        let files = [path];
        let Err(MakerError::Unknown { fingerprint, .. }) = trusted(&files, &[]) else {
            panic!("taken from anybody");
        };
        assert!(trusted(&files, &[Digest::of(b"another")]).is_err());
        assert_eq!(trusted(&files, &[fingerprint]).unwrap(), [[0x30]]);
    }

    #[test]
    fn what_is_known_is_written_as_fingerprints_are() {
        for known in KNOWN {
            assert_eq!(known.parse::<Digest>().unwrap().to_string(), known);
        }
    }
}
