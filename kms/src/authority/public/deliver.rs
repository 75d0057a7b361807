//! The page on which somebody without a card, and without any software of ours, sends a file to a unit (`docs/protocol.md`
//! P-17.12): what is in `kms/page/`, filled in. The file is encrypted in the browser.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use serde::Deserialize;
use warifu_api::ErrorBody;
use warifu_envelope::UnitRecipient;
use warifu_ledger::Id;
use warifu_ledger::register::Name;
use warifu_texts::Texts;

use super::super::error::AuthorityError;
use super::super::publication::Document;
use super::super::{Authority, Result};
use super::html::{self, Html, Words, for_a_script, language, other_language};

const TEMPLATE: &str = include_str!("../../../page/deliver.html");
/// What the page loads: path, content type, content.
const FILES: [(&str, &str, &str); 4] = [
    ("/page/style.css", "text/css; charset=utf-8", include_str!("../../../page/style.css")),
    ("/page/icon.svg", "image/svg+xml", include_str!("../../../page/icon.svg")),
    ("/page/deliver.js", "text/javascript; charset=utf-8", include_str!("../../../page/deliver.js")),
    ("/page/age.js", "text/javascript; charset=utf-8", include_str!("../../../page/age.js")),
];
/// A browser asks each time whether there is another one, and gets nothing if not.
const FILES_CACHED: &str = "no-cache";

/// What the script says, with the values that it fills in.
const SAID: [(&str, &[&str]); 23] = [
    ("said-from", &["name", "telephone"]),
    ("said-sending-what", &["file", "unit"]),
    ("said-so-far", &["percent", "done", "whole"]),
    ("said-torn", &[]),
    ("said-busy", &[]),
    ("said-file-hint", &["largest"]),
    ("form-no-unit", &[]),
    ("form-no-file", &[]),
    ("form-empty-file", &[]),
    ("form-too-large", &["largest"]),
    ("form-no-title", &[]),
    ("form-no-sender", &[]),
    ("form-too-long", &[]),
    ("fault-delivery-file-unreadable", &[]),
    ("fault-delivery-other-file", &[]),
    ("fault-delivery-box-full", &[]),
    ("fault-delivery-not-a-target", &[]),
    ("fault-delivery-unit-closed", &[]),
    ("fault-delivery-not-found", &[]),
    ("fault-delivery-too-large", &[]),
    ("fault-delivery-malformed", &[]),
    ("fault-delivery-refused", &["code"]),
    ("fault-delivery-unexpected", &[]),
];

/// A unit that takes deliveries from this page.
struct Addressee {
    unit: Id,
    label: String,
    name: String,
    recipient: String,
}

/// What a page is asked for with; links from elsewhere may have more.
#[derive(Deserialize)]
struct Asked {
    lang: Option<String>,
    /// The label of the unit that is chosen already.
    to: Option<String>,
}

/// The page, and what it loads.
pub(super) fn router() -> Router<Arc<Authority>> {
    let router = Router::new().route("/deliver", get(page));
    FILES.into_iter().fold(router, |router, (path, content_type, content)| {
        let document = Document::new(content.into(), content_type, FILES_CACHED, None).map(Arc::new);
        let file = move |headers: HeaderMap| async move {
            document.map(|document| document.answer(&headers)).ok_or_else(no_such_file)
        };
        router.route(path, get(file))
    })
}

fn no_such_file() -> ErrorBody {
    AuthorityError::NotFound { what: "path" }.into_body()
}

async fn page(
    State(authority): State<Arc<Authority>>,
    Extension(words): Extension<Arc<Words>>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> std::result::Result<Response, ErrorBody> {
    let texts = words.of(language(asked.lang.as_deref(), &headers));
    let page =
        authority.delivery_page(texts, asked.to.as_deref()).await.map_err(AuthorityError::into_body)?;
    Ok(html::page(page.into_string()))
}

impl Authority {
    async fn delivery_page(&self, texts: &Texts, chosen: Option<&str>) -> Result<Html> {
        let state = self.state()?;
        let terms = self.terms().await?;
        let mut units = Vec::new();
        for id in terms.outside {
            let Some((unit, key)) = state.unit(&id).and_then(|unit| Some((unit, unit.key?.0))) else {
                continue;
            };
            let Name { label, name } = self.name(&unit.name).await?;
            units.push(Addressee { unit: id, label, name, recipient: UnitRecipient::encode(&key) });
        }
        units.sort_by(|one, other| one.label.cmp(&other.label));
        let organization = self.name(&state.founding().name.record).await?.name;
        Ok(filled(texts, chosen, &organization, &self.helpdesk, &units, terms.largest_outside))
    }
}

fn filled(
    texts: &Texts,
    chosen: Option<&str>,
    organization: &str,
    helpdesk: &str,
    units: &[Addressee],
    largest: u64,
) -> Html {
    // Where there is one alone, nobody has to choose.
    let only = units.first().filter(|_| units.len() == 1);
    let chosen = units.iter().find(|unit| chosen == Some(&unit.label)).or(only);
    let said = |id, name, value: &str| Html::text(&texts.with(id, &[(name, value.into())]));
    let nobody = if units.is_empty() { "<p class=\"notice\">{{deliver-nobody}}</p>" } else { "" };
    let said_by_script = SAID.iter().flat_map(|(id, values)| for_a_script(texts, id, values));
    let parts = [
        ("language", Html::text(texts.language().code())),
        ("organization", Html::text(organization)),
        ("deliver-title", said("deliver-title", "organization", organization)),
        ("page-helpdesk", said("page-helpdesk", "helpdesk", helpdesk)),
        ("largest", Html::text(&largest.to_string())),
        ("other-language", other_language(texts, chosen.map(|unit| ("to", unit.label.as_str())))),
        ("nobody", Html::filled(nobody, texts, &[])),
        ("units", Html::all(units.iter().map(|unit| choice(texts, unit, chosen)))),
        ("said", Html::all(said_by_script.map(|(id, text)| told(texts, &id, &text)))),
    ];
    Html::filled(TEMPLATE, texts, &parts)
}

/// A unit that can be chosen.
fn choice(texts: &Texts, unit: &Addressee, chosen: Option<&Addressee>) -> Html {
    let is_chosen = chosen.is_some_and(|chosen| chosen.unit == unit.unit);
    let parts = [
        ("unit", Html::text(&unit.unit.to_string())),
        ("name", Html::text(&unit.name)),
        ("recipient", Html::text(&unit.recipient)),
        ("checked", Html::text(if is_chosen { " checked" } else { "" })),
    ];
    let choice = "<label class=\"choice\"><input type=\"radio\" name=\"unit\" value=\"{{unit}}\" data-name=\"{{name}}\" \
                  data-recipient=\"{{recipient}}\"{{checked}}><span>{{name}}</span></label>";
    Html::filled(choice, texts, &parts)
}

/// What the script finds by this id when it says it.
fn told(texts: &Texts, id: &str, text: &str) -> Html {
    let parts = [("id", Html::text(id)), ("text", Html::text(text))];
    Html::filled("<template id=\"{{id}}\">{{text}}</template>", texts, &parts)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use warifu_texts::{Language, outline};

    use super::super::html::PUBLIC;
    use super::*;

    fn page(language: Language, chosen: Option<&str>, names: &[&str]) -> String {
        let words = Words::load().unwrap();
        let units: Vec<_> = names
            .iter()
            .zip(1..)
            .map(|(name, number)| Addressee {
                unit: Id([number; 16]),
                label: format!("unit-{number}"),
                name: (*name).to_owned(),
                recipient: "age1tag1qexample".to_owned(),
            })
            .collect();
        let filled = filled(words.of(language), chosen, "北アルプス広域連合", "内線 2210", &units, 5);
        filled.into_string()
    }

    /// String literals after `before` in the script.
    fn literals(before: &str) -> BTreeSet<String> {
        let script = include_str!("../../../page/deliver.js");
        let after = script.split(before).skip(1).filter_map(|rest| rest.strip_prefix('"')?.split('"').next());
        after.map(str::to_owned).collect()
    }

    #[test]
    fn everything_on_the_page_is_said_in_both_languages() {
        for language in [Language::Japanese, Language::English] {
            let page = page(language, None, &["受付", "税務課"]);
            assert!(!page.contains("{{") && !page.contains("}}"), "{page}");
            // A message that is not there is shown by its name.
            for line in page.lines().filter(|line| !line.starts_with("<template") && !line.contains("input"))
            {
                let text = line.split(['<', '>']).skip(2).step_by(2).collect::<String>();
                assert!(!text.starts_with("deliver-") && !text.starts_with("page-"), "{line}");
            }
        }
    }

    #[test]
    fn the_script_says_what_there_is_and_gives_the_values_it_has() {
        let outline = outline(PUBLIC.ja);
        for (id, values) in SAID {
            let mut values = values.to_vec();
            values.sort_unstable();
            assert_eq!(
                outline.get(id).map(Vec::as_slice),
                Some(&values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>()[..]),
                "{id}"
            );
        }
        let known: BTreeSet<_> = SAID.iter().map(|(id, _)| (*id).to_owned()).collect();
        let used: BTreeSet<_> =
            ["said(", "new Fault(", "new Wrong("].into_iter().flat_map(literals).collect();
        assert!(used.len() > 10 && used.is_subset(&known), "{used:?}");
    }

    #[test]
    fn who_is_chosen_is_chosen_in_the_other_language_too() {
        let none = page(Language::Japanese, None, &["受付", "税務課"]);
        assert!(!none.contains("checked") && none.contains("href=\"?lang=en\""), "{none}");
        let second = page(Language::English, Some("unit-2"), &["受付", "税務課"]);
        assert_eq!(second.matches(" checked").count(), 1);
        assert!(second.contains("href=\"?lang=ja&amp;to=unit-2\""), "{second}");
        let unknown = page(Language::English, Some("\"><script>"), &["受付", "税務課"]);
        assert!(!unknown.contains("><script>") && !unknown.contains(" checked"), "{unknown}");
        assert!(page(Language::Japanese, None, &["受付"]).contains(" checked"), "the only one");
        assert!(page(Language::Japanese, None, &[]).contains("今はありません"));
    }
}
