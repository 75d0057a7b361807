//! Pages for people, in the language that their browser asks for: templates and what belongs to them in `kms/page/`, words in
//! `kms/locales/*/public.ftl`.

use axum::body::Body;
use axum::http::header::{
    ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, VARY,
};
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse as _, Response};
use warifu_texts::{FluentValue, Language, Sources, Texts, TextsError};

/// What the pages say.
pub(crate) const PUBLIC: Sources = Sources {
    ja: include_str!("../../../locales/ja/public.ftl"),
    en: include_str!("../../../locales/en/public.ftl"),
};

/// Scripts, styles and requests are our own and from here; nothing else is loaded, and nobody shows the page in his.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// The words of the pages in both languages.
pub(super) struct Words {
    japanese: Texts,
    english: Texts,
}

impl Words {
    pub(super) fn load() -> Result<Self, TextsError> {
        let load = |language| Texts::load(language, &[PUBLIC]);
        Ok(Self { japanese: load(Language::Japanese)?, english: load(Language::English)? })
    }

    pub(super) fn of(&self, language: Language) -> &Texts {
        match language {
            Language::Japanese => &self.japanese,
            Language::English => &self.english,
        }
    }
}

/// The language of a page: what its address says (`lang=`), else the one of ours that the browser likes best, else Japanese.
pub(super) fn language(said: Option<&str>, headers: &HeaderMap) -> Language {
    let accepted = headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    said.and_then(Language::parse).or_else(|| best(accepted)).unwrap_or(Language::Japanese)
}

/// RFC 9110, section 12.5.4.
fn best(accepted: &str) -> Option<Language> {
    let mut best: Option<(Language, f32)> = None;
    for range in accepted.split(',') {
        let (tag, weight) = range.split_once(";q=").unwrap_or((range, "1"));
        let weight: f32 = weight.trim().parse().unwrap_or(0.0);
        let language = Language::parse(&tag.trim().to_ascii_lowercase());
        if let Some(language) = language.filter(|_| best.map_or(0.0, |(_, best)| best) < weight) {
            best = Some((language, weight));
        }
    }
    best.map(|(language, _)| language)
}

/// HTML that goes into a page as it is.
#[derive(Default)]
pub(super) struct Html(String);

impl Html {
    /// Text, in which nothing is markup: between tags and in quoted attributes alike.
    pub(super) fn text(text: &str) -> Self {
        let mut html = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '&' => html.push_str("&amp;"),
                '<' => html.push_str("&lt;"),
                '>' => html.push_str("&gt;"),
                '"' => html.push_str("&quot;"),
                '\'' => html.push_str("&#39;"),
                c => html.push(c),
            }
        }
        Self(html)
    }

    /// A template filled in: `{{name}}` is what has this name in `parts`, or else the message of this name.
    pub(super) fn filled(template: &str, texts: &Texts, parts: &[(&str, Self)]) -> Self {
        let mut html = String::with_capacity(template.len());
        let mut rest = template;
        while let Some((before, (name, after))) =
            rest.split_once("{{").and_then(|(before, more)| Some((before, more.split_once("}}")?)))
        {
            html.push_str(before);
            match parts.iter().find(|(part, _)| *part == name) {
                Some((_, part)) => html.push_str(&part.0),
                None => html.push_str(&Self::text(&texts.get(name)).0),
            }
            rest = after;
        }
        html.push_str(rest);
        Self(html)
    }

    /// One after the other.
    pub(super) fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        Self(parts.into_iter().map(|part| part.0).collect::<Vec<_>>().join("\n"))
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

/// A page as it leaves.
pub(super) fn page(html: impl Into<Body>) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (VARY, "accept-language"),
        (CACHE_CONTROL, "no-cache"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    (headers, html.into()).into_response()
}

/// The same page in the other language; `more` is what else its address has.
pub(super) fn other_language(texts: &Texts, more: Option<(&str, &str)>) -> Html {
    let other = match texts.language() {
        Language::Japanese => Language::English,
        Language::English => Language::Japanese,
    };
    let more = more.map(|(name, value)| format!("&{name}={value}")).unwrap_or_default();
    let parts = [("code", Html::text(other.code())), ("more", Html::text(&more))];
    let link = "<a href=\"?lang={{code}}{{more}}\" hreflang=\"{{code}}\" lang=\"{{code}}\">{{page-other-language}}</a>";
    Html::filled(link, texts, &parts)
}

/// A message that a script fills in: `{name}` stands where a value is to go.
pub(super) fn for_a_script(texts: &Texts, id: &str, values: &[&'static str]) -> Vec<(String, String)> {
    let marks: Vec<(&str, FluentValue<'_>)> =
        values.iter().map(|name| (*name, FluentValue::from(format!("{{{name}}}")))).collect();
    let mut said = vec![(id.to_owned(), texts.with(id, &marks))];
    said.extend(texts.attribute(id, "remedy", &marks).map(|remedy| (format!("{id}.remedy"), remedy)));
    said
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_browser_gets_the_language_it_likes_best_of_ours() {
        for (accepted, expected) in [
            ("", None),
            ("fr, de;q=0.9", None),
            ("en-US,en;q=0.9", Some(Language::English)),
            ("JA", Some(Language::Japanese)),
            ("en;q=0.5, ja;q=0.8", Some(Language::Japanese)),
            ("fr, en;q=0.3, ja;q=0", Some(Language::English)),
            ("ja;q=x, en;q=NaN", None),
        ] {
            assert_eq!(best(accepted), expected, "{accepted}");
        }
        let mut headers = HeaderMap::new();
        assert_eq!(language(None, &headers), Language::Japanese);
        headers.insert(ACCEPT_LANGUAGE, HeaderValue::from_static("en"));
        assert_eq!(language(Some("xx"), &headers), Language::English);
        assert_eq!(language(Some("ja"), &headers), Language::Japanese);
    }

    #[test]
    fn names_are_no_markup() {
        let texts = Texts::load(Language::English, &[PUBLIC]).unwrap();
        let hostile = "\"><script>alert('税')</script>&amp; {{deliver-to}}";
        let page =
            Html::filled("<p title=\"{{name}}\">{{name}}</p>", &texts, &[("name", Html::text(hostile))]);
        let escaped = "&quot;&gt;&lt;script&gt;alert(&#39;税&#39;)&lt;/script&gt;&amp;amp; {{deliver-to}}";
        assert_eq!(page.into_string(), format!("<p title=\"{escaped}\">{escaped}</p>"));
    }
}
