//! The directory as a page that people read: units, recipients, fingerprints. No script, nothing from elsewhere.

use axum::body::Bytes as Written;
use warifu_api::wire::authority::CertificateKind;
use warifu_envelope::UnitRecipient;
use warifu_ledger::statement::Millis;
use warifu_ledger::{Digest, Id};
use warifu_texts::{Language, Texts};

use super::super::directory::Version;
use super::super::error::AuthorityError;
use super::super::{Authority, Result, cached, keep};
use super::html::{Html, Words, other_language};

/// How long a page is given out before it is made anew: certificates come without a new leaf.
const MADE_ANEW_MS: u64 = 60 * 1000;
const TEMPLATE: &str = include_str!("../../../page/directory.html");

/// The page in both languages, what it depends on besides the ledger, and when it was made.
pub(crate) type Pages = (Version, Millis, [Written; 2]);

/// A unit as the page tells of it.
struct Row {
    unit: Id,
    name: String,
    label: String,
    recipient: String,
    /// [`UnitRecipient::fingerprint`].
    fingerprint: String,
    /// SHA-256 of its certificate, DER, once the ca has issued one.
    certificate: Option<Digest>,
}

impl Authority {
    /// The page in a language.
    pub(super) async fn directory_page(&self, words: &Words, language: Language) -> Result<Written> {
        let state = self.state()?;
        let (size, now) = (state.tree().size(), self.now(&state));
        let version = self.directory_version(&state, now).await?;
        let pick = |[japanese, english]: [Written; 2]| match language {
            Language::Japanese => japanese,
            Language::English => english,
        };
        if let Some((of, at, pages)) = cached(&self.pages, size)
            && of == version
            && now < at.saturating_add(MADE_ANEW_MS)
        {
            return Ok(pick(pages));
        }
        let mut rows = Vec::new();
        let shown = self.shown_to_everybody(&state, now).await?;
        for entry in self.directory_of(&state, &shown).await?.units {
            let Some((key, _)) = state.unit(&entry.unit).and_then(|unit| unit.key) else { continue };
            let (recipient, fingerprint) = (UnitRecipient::encode(&key), UnitRecipient::fingerprint(&key));
            let chain = self.store.certificate(CertificateKind::Unit, &entry.unit).await?;
            let certificate = chain.as_deref().and_then(<[_]>::first).map(|der| Digest::of(&der.0));
            let (unit, name, label) = (entry.unit, entry.name, entry.label);
            rows.push(Row { unit, name, label, recipient, fingerprint, certificate });
        }
        rows.sort_by(|one, other| one.label.cmp(&other.label));
        let organization = self.name(&state.founding().name.record).await?.name;
        let fingerprint = super::keys_of(&state).fingerprint().in_groups();
        let page = |language| {
            let page = filled(words.of(language), &organization, &self.helpdesk, &fingerprint, &rows);
            Written::from(page.into_string())
        };
        let pages = [page(Language::Japanese), page(Language::English)];
        keep(&self.pages, size, (version, now, pages.clone()));
        Ok(pick(pages))
    }

    /// A unit's certificate, DER, if everybody is told of the unit and it has one.
    pub(super) async fn unit_certificate(&self, unit: Id) -> Result<Written> {
        let state = self.state()?;
        let nothing = AuthorityError::NotFound { what: "certificate" };
        if !self.shown_to_everybody(&state, self.now(&state)).await?.contains(&unit) {
            return Err(nothing);
        }
        let chain = self.store.certificate(CertificateKind::Unit, &unit).await?;
        let first = chain.and_then(|chain| chain.into_iter().next());
        first.map(|der| Written::from(der.0)).ok_or(nothing)
    }
}

fn filled(texts: &Texts, organization: &str, helpdesk: &str, fingerprint: &str, rows: &[Row]) -> Html {
    let about = |id, name, value: &str| Html::text(&texts.with(id, &[(name, value.into())]));
    let parts = [
        ("language", Html::text(texts.language().code())),
        ("other-language", other_language(texts, None)),
        ("organization", Html::text(organization)),
        ("page-title", about("page-title", "organization", organization)),
        ("page-helpdesk", about("page-helpdesk", "helpdesk", helpdesk)),
        ("fingerprint", Html::text(fingerprint)),
        ("units", Html::all(rows.iter().map(|row| of_unit(texts, row)))),
    ];
    Html::filled(TEMPLATE, texts, &parts)
}

fn of_unit(texts: &Texts, Row { unit, name, label, recipient, fingerprint, certificate }: &Row) -> Html {
    let certificate = certificate.map(|digest| {
        let parts = [("unit", Html::text(&unit.to_string())), ("digest", Html::text(&digest.in_groups()))];
        let link = "<br><a href=\"/units/{{unit}}.cer\">{{page-certificate-link}}</a> (SHA-256): <code>{{digest}}</code>";
        Html::filled(link, texts, &parts)
    });
    let parts = [
        ("name", Html::text(name)),
        ("label", Html::text(label)),
        ("recipient", Html::text(recipient)),
        ("fingerprint", Html::text(fingerprint)),
        ("certificate", certificate.unwrap_or_default()),
    ];
    let row = "<tr><th scope=\"row\">{{name}}<br><small>{{label}}</small></th><td><code>{{recipient}}</code><br>\
               {{page-unit-fingerprint}}: <code>{{fingerprint}}</code>{{certificate}}</td></tr>";
    Html::filled(row, texts, &parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_text_and_nothing_else() {
        let row = Row {
            unit: Id([1; 16]),
            name: "<script>alert('x')</script>\"&".to_owned(),
            label: "tax".to_owned(),
            recipient: "age1tag1x".to_owned(),
            fingerprint: "0000".to_owned(),
            certificate: Some(Digest::of(b"der")),
        };
        for language in [Language::Japanese, Language::English] {
            let words = Words::load().unwrap();
            let page = filled(words.of(language), "<b>市</b>", "<b>", "0000", std::slice::from_ref(&row))
                .into_string();
            assert!(!page.contains("<script") && !page.contains("<b>"), "{page}");
            assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;"), "{page}");
            assert!(page.contains("/units/01010101010101010101010101010101.cer"));
            assert!(!page.contains("{{") && !page.contains(">page-"), "{page}");
        }
    }
}
