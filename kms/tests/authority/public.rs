//! The listener for everybody: what is there, what is not, and those who mean it harm.

use std::io::Read as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rcgen::{CertifiedKey, KeyPair, PKCS_RSA_SHA256, generate_simple_self_signed};
use tokio::net::TcpListener;
use warifu_api::wire::authority::{Directory, Status};
use warifu_api::wire::public::SignedDirectory;
use warifu_api::{Client, ErrorBody, ErrorCode};
use warifu_kms::authority::config::Public;
use warifu_kms::authority::{Authority, AuthorityError};
use warifu_ledger::statement::{Act, OrganizationKeys, UnitKind};

use crate::fixture::{TWO, id, record, unit};
use crate::stage::{code, staged};
use crate::town::Town;
use crate::trusts::cosign;

/// The router of those with keys, as it is written.
const OTHER_ROUTER: &str = include_str!("../../src/authority/http.rs");

fn everybody(town: &Town) -> Client {
    Client::public(&town.kms.public_address).unwrap()
}

/// What `curl` is answered: the status, and head with body.
fn curl(town: &Town, arguments: &[&str], path: &str) -> (String, String) {
    let url = format!("https://{}{path}", town.kms.public_address);
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-k", "-i", "--max-time", "10", "--tlsv1.3"]).args(arguments).arg(&url);
    let output = curl.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer = String::from_utf8(output.stdout).unwrap();
    (answer.split(' ').nth(1).unwrap().to_owned(), answer)
}

/// The paths of a router, with something in the place of what varies.
fn paths_of(router: &str) -> Vec<String> {
    let quoted = router.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next());
    let filled = quoted.map(|path| {
        let parts = path.split('/').map(|part| match part {
            "{*tile}" => "0/000".to_owned(),
            part if part.starts_with('{') => "ab".repeat(16),
            part => part.to_owned(),
        });
        parts.collect::<Vec<_>>().join("/")
    });
    filled.collect()
}

staged! {
    async fn anybody_reads_the_directory_with_programs_that_know_nothing_of_us(stage) {
        let town = Town::open_to_all(&stage).await;
        cosign(&town, &stage).await;
        let directory: SignedDirectory = everybody(&town).get("/v1/directory").await.unwrap();
        // OpenSSL 3.0 has X25519 alone.
        let (status, answer) = curl(&town, &["--curves", "X25519"], "/v1/directory");
        assert_eq!(status, "200");
        assert!(answer.contains("x-content-type-options: nosniff"), "{answer}");
        assert!(answer.ends_with(&serde_json::to_string(&directory).unwrap()));
    }

    async fn p_16_11_persons_and_contractors_are_shown_to_nobody_who_is_not_meant_to_see_them(stage) {
        let shown = async |town: &Town| {
            let signed: SignedDirectory = everybody(town).get("/v1/directory").await.unwrap();
            let units = warifu_directory::signed::claimed(&signed).unwrap().directory.units;
            let (_, page) = curl(town, &[], "/");
            let state = town.state().await;
            ["tax", "team", "welfare"].map(|label| {
                let key = state.unit(&id(label)).unwrap().key;
                let recipient = key.map(|(key, _)| warifu_envelope::UnitRecipient::encode(&key));
                let on_page = recipient.is_some_and(|recipient| page.contains(&recipient));
                let listed = units.iter().any(|unit| unit.unit == id(label));
                assert_eq!(on_page, listed && key.is_some(), "{label}");
                listed
            })
        };
        let town = Town::open_to_all(&stage).await;
        let person = match unit("welfare") {
            Act::UnitOrdered { unit, name, contract, sites, routes_to, two_people, own_pcs, .. } => {
                let kind = UnitKind::Person;
                Act::UnitOrdered { unit, name, kind, contract, sites, routes_to, two_people, own_pcs }
            }
            other => other,
        };
        town.done([person], TWO).await;
        town.create("welfare").await;
        cosign(&town, &stage).await;
        assert_eq!(shown(&town).await, [true, false, false]);
        // Members are told of all.
        let inside: Directory = town.card("hanako").get("/v1/directory").await.unwrap();
        assert!(["tax", "team", "welfare"].iter().all(|label| inside.units.iter().any(|it| it.unit == id(label))));
        town.kms.kill();
        let mut stage = stage;
        // Names of this town have no labels: the record stands for it.
        stage.config.public.as_mut().unwrap().also_shown = vec![record("team").id.to_string()];
        let town = Town::again(stage.start().await);
        assert_eq!(shown(&town).await, [true, true, false]);
    }

    async fn the_directory_is_a_page_in_the_readers_language(stage) {
        let town = Town::open_to_all(&stage).await;
        let page = |language: &str| curl(&town, &["-H", &format!("Accept-Language: {language}")], "/");
        let (status, english) = page("en-US,en;q=0.9,ja;q=0.8");
        assert_eq!(status, "200");
        assert!(english.contains("content-type: text/html; charset=utf-8"), "{english}");
        assert!(english.contains("content-security-policy: default-src 'none'"), "{english}");
        assert!(english.contains("<html lang=\"en\">") && !english.contains("<script"), "{english}");
        let (_, japanese) = page("ja");
        assert!(japanese.contains("<html lang=\"ja\">") && japanese.contains("宛先帳"), "{japanese}");
        let state = town.state().await;
        let recipient = warifu_envelope::UnitRecipient::encode(&state.unit(&id("tax")).unwrap().key.unwrap().0);
        let organization = state.organization();
        let (ca, kms) = (state.ca().clone(), state.kms().clone());
        let fingerprint = OrganizationKeys { organization, ca, kms }.fingerprint().in_groups();
        for page in [&english, &japanese] {
            assert!(page.contains(&recipient) && page.contains(&fingerprint), "{page}");
        }
        for path in ["/units/", "/units/x.cer", &format!("/units/{}.cer", id("tax")), "/units/../v1/status"] {
            assert_eq!(curl(&town, &["--path-as-is"], path).0, "404", "{path}: the ca has issued none");
        }
    }

    async fn p_17_12_the_page_for_senders_loads_what_is_here_and_nothing_from_elsewhere(stage) {
        let town = Town::open_to_all(&stage).await;
        let (status, page) = curl(&town, &[], "/deliver?lang=en&utm_source=mail");
        assert_eq!(status, "200");
        for header in ["text/html; charset=utf-8", "default-src 'none'; script-src 'self';", "frame-ancestors 'none'"] {
            assert!(page.contains(header), "{header}: {page}");
        }
        assert!(page.contains("no unit that you could send to"), "none is configured: {page}");
        for elsewhere in ["://", "style=", "javascript:", "onclick", "onload", "<script>"] {
            assert!(!page.contains(elsewhere), "{elsewhere}: {page}");
        }
        let loaded: Vec<_> =
            ["src=\"", "href=\"/"].iter().flat_map(|before| page.split(before).skip(1)).collect();
        assert!(loaded.len() >= 3, "{page}");
        for path in loaded.iter().filter_map(|rest| rest.split('"').next()) {
            let path = format!("/{}", path.trim_start_matches('/'));
            let (status, file) = curl(&town, &[], &path);
            assert_eq!(status, "200", "{path}");
            let etag = file.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().trim();
            let known = format!("If-None-Match: {etag}");
            assert_eq!(curl(&town, &["-H", &known], &path).0, "304", "{path}");
        }
    }

    async fn p_16_10_nothing_is_there_of_what_ca_sites_and_cards_ask(stage) {
        let town = Town::open_to_all(&stage).await;
        let paths = paths_of(OTHER_ROUTER);
        assert!(paths.len() > 40, "{paths:?}");
        for path in paths.iter().filter(|path| *path != "/v1/directory") {
            let client = everybody(&town);
            assert_eq!(code(client.get::<serde_json::Value>(path).await), ErrorCode::NotFound, "GET {path}");
            let body = serde_json::json!({});
            assert_eq!(code(client.post::<serde_json::Value>(path, &body).await), ErrorCode::NotFound, "POST {path}");
        }
        // A key changes nothing: nobody asks for one.
        let shown = warifu_api::tls::public::client_config_of_anybody().unwrap();
        assert!(shown.alpn_protocols.is_empty());
        let (status, _) = curl(&town, &["-X", "DELETE"], "/v1/directory");
        assert_eq!(status, "404");
    }

    async fn who_asks_too_often_waits_and_nobody_else(stage) {
        let town = Town::open_to_all(&stage).await;
        let url = format!("https://{}/v1/status?[1-160]", town.kms.public_address);
        let mut curl = Command::new("curl");
        curl.args(["-sSk", "--interface", "127.0.0.7", "-o", "/dev/null", "-w", "%{http_code}\n"]);
        curl.arg(url);
        let output = String::from_utf8(curl.output().unwrap().stdout).unwrap();
        let codes: Vec<_> = output.lines().filter(|line| line.len() == 3).collect();
        assert!(codes.iter().take(100).all(|code| *code == "404"), "{codes:?}");
        assert!(codes.contains(&"429"), "{codes:?}");
        let (status, answer) = self::curl(&town, &["--interface", "127.0.0.8"], "/v1/directory");
        assert_eq!(status, "425", "{answer}");
        let (status, answer) = self::curl(&town, &["--interface", "127.0.0.7"], "/v1/directory");
        if status == "429" {
            assert!(answer.contains("retry-after: 1") && answer.contains("busy"), "{answer}");
        }
    }

    async fn silence_size_and_numbers_gain_nothing(stage) {
        let town = Town::open_to_all(&stage).await;
        let long = format!("X: {}", "x".repeat(20 << 10));
        assert_eq!(curl(&town, &["-H", &long], "/v1/directory").0, "431");
        let mut silent: Vec<TcpStream> =
            (0..700).map(|_| TcpStream::connect(&town.kms.public_address).unwrap()).collect();
        silent[0].set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert!(!matches!(silent[0].read(&mut [0]), Ok(1..)));
        // Not since its time is over: those who came last are there still.
        let last = silent.last_mut().unwrap();
        last.set_nonblocking(true).unwrap();
        assert_eq!(last.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        // All places are taken, and whoever comes from elsewhere gets one; members have others anyway.
        let (status, _) = curl(&town, &["--interface", "127.0.0.9"], "/v1/directory");
        assert_eq!(status, "425");
        let _: Status = town.card("hanako").get("/v1/status").await.unwrap();
    }

    async fn a_certificate_that_browsers_know_is_shown_if_it_is_one(stage) {
        stage.found().await;
        let folder = stage.config.data.parent().unwrap().to_owned();
        let pem = |name: &str, text: &str, mode: u32| -> PathBuf {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let other = KeyPair::generate_for(&PKCS_RSA_SHA256).map_or_else(
            |_| KeyPair::generate().unwrap().serialize_pem(),
            |key| key.serialize_pem(),
        );
        let certificate = pem("certificate.pem", &cert.pem(), 0o644);
        let key = pem("key.pem", &signing_key.serialize_pem(), 0o600);
        let nothing = pem("nothing.pem", "nothing", 0o600);
        let open = pem("open.pem", &signing_key.serialize_pem(), 0o640);
        let another = pem("another.pem", &other, 0o600);
        let authority = Authority::open(&stage.config, stage.clock.clone()).await.unwrap();
        let serve = async |certificate: Option<&Path>, key: Option<&Path>| {
            let configured = Public {
                listen: String::new(),
                address: String::new(),
                certificate: certificate.map(Path::to_owned),
                key: key.map(Path::to_owned),
                also_shown: Vec::new(),
            };
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            authority.serve_public(listener, &configured, std::future::ready(())).await
        };
        for (certificate, key) in [(&nothing, &key), (&certificate, &nothing), (&certificate, &another)] {
            let refused = serve(Some(certificate), Some(key)).await;
            assert!(matches!(refused, Err(AuthorityError::PublicCertificate { .. })), "{certificate:?} {key:?} {refused:?}");
        }
        assert!(matches!(serve(Some(&certificate), None).await, Err(AuthorityError::PublicCertificateAlone)));
        assert!(matches!(serve(None, Some(&key)).await, Err(AuthorityError::PublicCertificateAlone)));
        let refused = serve(Some(&certificate), Some(&open)).await.unwrap_err();
        assert!(refused.to_string().contains("open.pem"), "{refused}");
        assert!(serve(Some(&folder.join("none")), Some(&key)).await.is_err());

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let configured = Public {
            listen: String::new(),
            address: String::new(),
            certificate: Some(certificate.clone()),
            key: Some(key),
            also_shown: Vec::new(),
        };
        let serving = authority.clone();
        tokio::spawn(async move { serving.serve_public(listener, &configured, std::future::pending()).await });
        let asked = tokio::task::spawn_blocking(move || {
            let mut curl = Command::new("curl");
            curl.arg("-sS").arg("--cacert").arg(certificate);
            curl.arg(format!("https://localhost:{port}/v1/directory")).output().unwrap()
        });
        let asked = asked.await.unwrap();
        assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
        let answered: ErrorBody = serde_json::from_slice(&asked.stdout).unwrap();
        assert_eq!(answered.code, ErrorCode::NotReady);
        // Our own programs take it as it comes.
        let ours = Client::public(format!("127.0.0.1:{port}")).unwrap().get::<SignedDirectory>("/v1/directory").await;
        assert_eq!(code(ours), ErrorCode::NotReady);
    }
}
