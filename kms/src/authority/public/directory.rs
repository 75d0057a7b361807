//! One's own directory, signed, for other organizations (P-16.1, P-16.2).

use axum::body::Bytes as Written;
use warifu_api::wire::authority::Included;
use warifu_api::wire::public::{PublicDirectory, SignedDirectory};
use warifu_ledger::Digest;
use warifu_ledger::key::Bytes;
use warifu_ledger::statement::{DirectoryStatement, HalfHolder, Millis};

use super::super::directory::Version;
use super::super::error::AuthorityError;
use super::super::{Authority, Result, cached, keep};

/// How long one is given out before it is signed again, in milliseconds.
const SIGNED_AGAIN_MS: u64 = 24 * 60 * 60 * 1000;

/// A directory as it leaves, what it depends on besides the ledger, and when it was signed.
pub(crate) type Signed = (Version, Millis, Written);

impl Authority {
    /// A [`SignedDirectory`], as JSON.
    pub(super) async fn signed_directory(&self) -> Result<Written> {
        let state = self.state()?;
        let (size, now) = (state.tree().size(), self.now(&state));
        let version = self.directory_version(&state, now).await?;
        if let Some((of, at, signed)) = cached(&self.signed_directory, size)
            && of == version
            && now < at.saturating_add(SIGNED_AGAIN_MS)
        {
            return Ok(signed);
        }
        let not_yet = AuthorityError::NotYet { what: "the ca has not cosigned what the directory stands on" };
        let mut successions = Vec::new();
        for (index, _) in state.former_keys(HalfHolder::Kms) {
            if index >= version.cosigned {
                return Err(not_yet);
            }
            let leaf = Bytes(self.leaf(index).await?.as_bytes().to_vec());
            successions.push(Included {
                index,
                leaf,
                proof: state.tree().inclusion(index, version.cosigned)?,
            });
        }
        if version.cosigned == 0 {
            return Err(not_yet);
        }
        let organization = state.organization();
        let content = PublicDirectory {
            name: self.name(&state.founding().name.record).await?.name,
            address: self.public_address.clone(),
            keys: super::keys_of(&state),
            successions,
            directory: self.directory_of(&state, &self.shown_to_everybody(&state, now).await?).await?,
        };
        let body = serde_json::to_vec(&content)?;
        let statement = self
            .sign(DirectoryStatement {
                organization,
                at: now,
                expires_at: now.saturating_add(DirectoryStatement::LONGEST_MS),
                size: version.cosigned,
                digest: Digest::of(&body),
            })
            .await?;
        let signed = Written::from(serde_json::to_vec(&SignedDirectory { statement, body: Bytes(body) })?);
        keep(&self.signed_directory, size, (version, now, signed.clone()));
        Ok(signed)
    }
}
