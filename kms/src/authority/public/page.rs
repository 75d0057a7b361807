//! The directory as a page that people read: units, recipients, fingerprints. No script, nothing from elsewhere.

use axum::body::Bytes as Written;
use axum::http::HeaderMap;
use axum::http::header::ACCEPT_LANGUAGE;
use warifu_api::wire::authority::CertificateKind;
use warifu_envelope::UnitRecipient;
use warifu_ledger::statement::Millis;
use warifu_ledger::{Digest, Id};
use warifu_texts::{Language, Texts};

use super::super::directory::Version;
use super::super::error::AuthorityError;
use super::super::{Authority, Result, cached, keep};
use crate::words::KMS;

/// How long a page is given out before it is made anew: certificates come without a new leaf.
const MADE_ANEW_MS: u64 = 60 * 1000;
/// How everything looks: nothing but what a table needs.
const STYLE: &str = "body{font-family:sans-serif;margin:2em auto;max-width:72em;padding:0 1em;line-height:1.6}\
                     table{border-collapse:collapse;width:100%}th,td{border:1px solid #999;padding:.4em .6em;text-align:left;\
                     vertical-align:top}code{overflow-wrap:anywhere}";

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
    pub(super) async fn directory_page(&self, language: Language) -> Result<Written> {
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
        for entry in self.directory_of(&state, now).await?.units {
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
            let texts = Texts::load(language, &[KMS]).map_err(warifu_console::ConsoleError::from)?;
            Ok::<_, AuthorityError>(Written::from(render(
                &texts,
                language,
                &organization,
                &fingerprint,
                &rows,
            )))
        };
        let pages = [page(Language::Japanese)?, page(Language::English)?];
        keep(&self.pages, size, (version, now, pages.clone()));
        Ok(pick(pages))
    }

    /// A unit's certificate, DER, if the unit is in the directory and has one.
    pub(super) async fn unit_certificate(&self, unit: Id) -> Result<Written> {
        let state = self.state()?;
        let nothing = AuthorityError::NotFound { what: "certificate" };
        if !state.unit_is_listed(&unit, self.now(&state)) {
            return Err(nothing);
        }
        let chain = self.store.certificate(CertificateKind::Unit, &unit).await?;
        let first = chain.and_then(|chain| chain.into_iter().next());
        first.map(|der| Written::from(der.0)).ok_or(nothing)
    }
}

/// The language that whoever asks prefers of the two (RFC 9110, section 12.5.4): the first of them that is named, for browsers name
/// them in that order. Japanese, if neither is.
pub(super) fn language(asked: &HeaderMap) -> Language {
    let named = asked.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let primary = |range: &str| {
        let tag = range.split([';', '-']).next().unwrap_or_default().trim().to_ascii_lowercase();
        match tag.as_str() {
            "ja" => Some(Language::Japanese),
            "en" => Some(Language::English),
            _ => None,
        }
    };
    named.split(',').find_map(primary).unwrap_or(Language::Japanese)
}

fn render(texts: &Texts, language: Language, organization: &str, fingerprint: &str, rows: &[Row]) -> String {
    let lang = match language {
        Language::Japanese => "ja",
        Language::English => "en",
    };
    let text = |id: &str| escaped(&texts.get(id));
    let about = |id: &str, name: &str, value: &str| escaped(&texts.with(id, &[(name, value.into())]));
    let mut page = format!(
        "<!doctype html><html lang=\"{lang}\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head>\
         <body><h1>{title}</h1><p>{intro}</p><h2>{heading}</h2><p>{how}</p><p><code>{fingerprint}</code></p>\
         <h2>{units}</h2>",
        title = about("page-title", "organization", organization),
        intro = text("page-intro"),
        heading = text("page-fingerprint"),
        how = text("page-fingerprint-how"),
        units = text("page-units"),
    );
    let columns = ["page-unit", "page-label", "page-recipient", "page-certificate"].map(text);
    page.push_str("<table><thead><tr>");
    for column in columns {
        page.push_str(&format!("<th scope=\"col\">{column}</th>"));
    }
    page.push_str("</tr></thead><tbody>");
    for Row { unit, name, label, recipient, fingerprint, certificate } in rows {
        let certificate = certificate.map_or_else(String::new, |digest| {
            format!(
                "<a href=\"/units/{unit}.cer\">{}</a><br><code>{}</code>",
                text("page-certificate-link"),
                digest.in_groups()
            )
        });
        page.push_str(&format!(
            "<tr><td>{}</td><td>{}</td><td><code>{}</code><br><code>{fingerprint}</code></td><td>{certificate}</td></tr>",
            escaped(name),
            escaped(label),
            escaped(recipient),
        ));
    }
    page.push_str(&format!("</tbody></table><p>{}</p></body></html>", text("page-programs")));
    page
}

/// As text of a page (WHATWG HTML, section 13.3), in quotes or out of them.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(value: &str) -> Language {
        language(&HeaderMap::from_iter([(ACCEPT_LANGUAGE, value.parse().unwrap())]))
    }

    #[test]
    fn whoever_asks_reads_his_language() {
        assert_eq!(language(&HeaderMap::new()), Language::Japanese);
        for (value, expected) in [
            ("ja,en-US;q=0.9", Language::Japanese),
            ("en-GB,en;q=0.9,ja;q=0.8", Language::English),
            ("fr, JA-JP", Language::Japanese),
            ("fr", Language::Japanese),
            ("", Language::Japanese),
        ] {
            assert_eq!(asked(value), expected, "{value}");
        }
    }

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
            let texts = Texts::load(language, &[KMS]).unwrap();
            let page = render(&texts, language, "<b>市</b>", "0000", std::slice::from_ref(&row));
            assert!(!page.contains("<script") && !page.contains("<b>"), "{page}");
            assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;"), "{page}");
            assert!(page.contains("/units/01010101010101010101010101010101.cer"));
            for id in ["page-title", "page-intro", "page-fingerprint-how", "page-programs"] {
                assert!(texts.has(id), "{id}");
            }
        }
    }
}
