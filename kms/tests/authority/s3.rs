//! The box in S3: `s3s-fs`, a server that checks every signature, keeps objects as files, and can be killed. All that is tested of
//! deliveries in a folder is tested in it as well (`deliveries::in_s3`); here is what only a server can do.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::Method;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::PrivateKeyDer;
use rustls::version::TLS13;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Result, s3_error};
use s3s_fs::FileSystem;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use warifu_api::ErrorCode;
use warifu_api::wire::authority::Status;
use warifu_api::wire::deliveries::{Delivered, DeliveryState, PART};
use warifu_console::ConsoleError;
use warifu_kms::authority::config::S3Settings;
use warifu_kms::authority::{AuthorityError, NotDelivered, S3Fault};
use warifu_ledger::Id;
use warifu_ledger::statement::Delivery;

use crate::deliveries::{
    arriving, ciphertext, complete, drawn, files, offer, put, signed, state, swept_to, taken, with_box,
};
use crate::fixture::*;
use crate::slips::started;
use crate::stage::{Stage, code, staged};
use crate::town::Town;

const ACCESS_KEY: &str = "warifu";
const SECRET_KEY: &str = "only this test knows it";
const BUCKET: &str = "warifu-box";
/// What is before the keys of all objects, in two steps.
const PREFIX: &str = "大町市/box";
const PART_BYTES: usize = PART as usize;

/// A server, and what it keeps.
pub(crate) struct S3 {
    folder: PathBuf,
    address: String,
    running: Option<Runtime>,
}

impl S3 {
    /// Starts it with an empty bucket.
    fn start(folder: PathBuf) -> Self {
        std::fs::create_dir_all(folder.join(BUCKET)).unwrap();
        let mut s3 = Self { folder, address: "127.0.0.1:0".to_owned(), running: None };
        s3.start_again();
        s3
    }

    fn start_again(&mut self) {
        self.serve(None);
    }

    fn serve(&mut self, tls: Option<TlsAcceptor>) {
        let runtime = Runtime::new().unwrap();
        let mut builder = S3ServiceBuilder::new(FileSystem::new(&self.folder).unwrap());
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        builder.set_access(Buckets(self.folder.clone()));
        let service = builder.build();
        let deadline = std::time::Instant::now() + crate::stage::DEADLINE;
        let listener = loop {
            // The one that was killed may be on its way out.
            match std::net::TcpListener::bind(&self.address) {
                Ok(listener) => break listener,
                Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        };
        listener.set_nonblocking(true).unwrap();
        self.address = listener.local_addr().unwrap().to_string();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (service, tls) = (service.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => talk(stream, service).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                talk(stream, service).await;
                            }
                        }
                    }
                });
            }
        });
        self.running = Some(runtime);
    }

    /// Ends it, whatever it is doing.
    fn kill(&mut self) {
        self.running.take().unwrap().shutdown_background();
    }

    /// The folder of what it keeps of deliveries.
    pub(crate) fn objects(&self) -> PathBuf {
        self.folder.join(BUCKET).join(PREFIX)
    }

    fn object(&self, delivery: &Id, part: u64) -> PathBuf {
        self.objects().join(delivery.to_string()).join(part.to_string())
    }

    fn settings(&self, credentials_file: &Path) -> S3Settings {
        S3Settings {
            endpoint: format!("http://{}", self.address),
            bucket: BUCKET.to_owned(),
            region: "us-east-1".to_owned(),
            prefix: PREFIX.to_owned(),
            credentials_file: credentials_file.to_owned(),
            ca_file: None,
        }
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        if let Some(runtime) = self.running.take() {
            runtime.shutdown_background();
        }
    }
}

/// `s3s-fs` makes a bucket of whatever something is put to. Others do not.
struct Buckets(PathBuf);

#[async_trait::async_trait]
impl S3Access for Buckets {
    async fn check(&self, asked: &mut S3AccessContext<'_>) -> S3Result<()> {
        let bucket = asked.s3_path().get_bucket_name().filter(|name| self.0.join(name).is_dir());
        match (asked.credentials(), bucket) {
            (None, _) => Err(s3_error!(AccessDenied)),
            (_, None) => Err(s3_error!(NoSuchBucket)),
            _ => Ok(()),
        }
    }
}

async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, service: S3Service) {
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn secret(path: &Path, text: &str, mode: u32) -> PathBuf {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    path.to_owned()
}

fn keys(secret: &str) -> String {
    format!("access_key_id = \"{ACCESS_KEY}\"\nsecret_access_key = \"{secret}\"\n")
}

/// The stage, its box in an S3 of its own.
pub(crate) fn with_s3(mut stage: Stage) -> Stage {
    let folder = stage.config.data.parent().unwrap();
    let s3 = S3::start(folder.join("s3"));
    let credentials = secret(&folder.join("s3-keys"), &keys(SECRET_KEY), 0o600);
    stage.config.deliveries.s3 = Some(s3.settings(&credentials));
    stage.s3 = Some(s3);
    stage
}

/// As it is written in a configuration file.
pub(crate) fn section(s3: &S3Settings) -> String {
    format!(
        "[box.s3]\nendpoint = {:?}\nbucket = {:?}\nregion = {:?}\nprefix = \"{}\"\ncredentials_file = {:?}\n",
        s3.endpoint, s3.bucket, s3.region, s3.prefix, s3.credentials_file,
    )
}

/// Sends what is said by `jiro` and looks at each answer.
async fn begun(town: &Town, file: &[u8]) -> Delivery {
    let delivery = drawn(town, "jiro", "tax", file).await;
    offer(&town.card("jiro"), &signed(town, &delivery, "jiro").await).await.unwrap();
    delivery
}

async fn arrives(town: &Town, delivery: &Delivery, file: &[u8]) {
    let jiro = town.card("jiro");
    for (part, bytes) in (0..).zip(file.chunks(PART_BYTES)) {
        put(&jiro, &delivery.id, part, bytes).await.unwrap();
    }
    let state = complete(&jiro, &delivery.id, file).await.state;
    assert!(matches!(state, DeliveryState::Arrived { .. }), "{state:?}");
}

/// Nothing that needs no file minds that the S3 is away.
async fn serves_all_else(town: &Town) {
    town.done([suspend("midori"), resume("midori")], TWO).await;
    let _: Status = town.stranger().get("/v1/status").await.unwrap();
}

async fn is_refused(town: &Town, file: &[u8]) {
    let delivery = begun(town, file).await;
    assert_eq!(put(&town.card("jiro"), &delivery.id, 0, file).await, Err(ErrorCode::StorageUnavailable));
    assert_eq!(state(&town.card("jiro"), &delivery.id).await, arriving(&[0]));
}

/// What `warifu-kms authority doctor` finds about the box.
fn doctor(stage: &Stage) -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_warifu-kms"));
    command.args(["authority", "--config"]).arg(stage.config.data.with_file_name("slips.toml"));
    let output = command.args(["doctor", "--json"]).stdin(Stdio::null()).output().unwrap();
    let findings: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let of_box = findings.iter().filter(|finding| finding["check"] == "box");
    of_box.map(|finding| finding["finding"].as_str().unwrap().to_owned()).collect()
}

staged! {
    async fn what_would_show_keys_or_files_on_the_way_is_not_begun(stage) {
        let mut stage = with_s3(stage);
        let good = stage.config.deliveries.s3.clone().unwrap();
        let folder = stage.config.data.parent().unwrap().to_owned();
        let mut refused = async |settings: S3Settings| {
            stage.config.deliveries.s3 = Some(settings);
            stage.refused().await
        };
        for endpoint in [
            "http://s3.example", "http://192.0.2.1:9000", "http://localhost.example", "https://s3.example/bucket",
            "https://a:b@s3.example", "https://s3.example?x", "s3.example", "ftp://127.0.0.1", "",
        ] {
            let why = refused(S3Settings { endpoint: endpoint.to_owned(), ..good.clone() }).await;
            assert!(matches!(why, AuthorityError::Delivery(NotDelivered::S3(S3Fault::Endpoint))), "{endpoint}: {why:?}");
        }
        for prefix in ["a//b", "..", "a/../b"] {
            let why = refused(S3Settings { prefix: prefix.to_owned(), ..good.clone() }).await;
            assert!(matches!(why, AuthorityError::Delivery(NotDelivered::S3(S3Fault::Prefix))), "{prefix}: {why:?}");
        }
        let exposed = secret(&folder.join("exposed"), &keys(SECRET_KEY), 0o640);
        let why = refused(S3Settings { credentials_file: exposed, ..good.clone() }).await;
        assert!(matches!(why, AuthorityError::Console(ConsoleError::OpenToOthers { .. })), "{why:?}");
        let nowhere = S3Settings { credentials_file: folder.join("nowhere"), ..good.clone() };
        assert!(matches!(refused(nowhere).await, AuthorityError::Console(ConsoleError::File { .. })));
        for text in ["", "access_key_id = \"a\"\n", &format!("{}more = 1\n", keys(SECRET_KEY)), &keys("a\"b")] {
            let credentials_file = secret(&folder.join("unreadable"), text, 0o600);
            let why = refused(S3Settings { credentials_file, ..good.clone() }).await;
            assert!(matches!(why, AuthorityError::Delivery(NotDelivered::S3(S3Fault::Credentials { .. }))), "{why:?}");
            // Nothing of the file is in what is logged.
            let mut said = format!("{why:?}{why}");
            let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(&why);
            while let Some(error) = cause {
                said += &format!("{error:?}{error}");
                cause = error.source();
            }
            assert!(!said.contains("access_key_id = \"") && !said.contains(SECRET_KEY), "{said}");
        }
        let ca_file = Some(secret(&folder.join("none.pem"), "nothing\n", 0o644));
        let why = refused(S3Settings { ca_file, ..good.clone() }).await;
        assert!(matches!(why, AuthorityError::Delivery(NotDelivered::S3(S3Fault::Authorities { .. }))), "{why:?}");
        stage.config.deliveries.s3 = Some(good);
        stage.config.deliveries.folder = Some(folder.join("box"));
        assert!(matches!(stage.refused().await, AuthorityError::Delivery(NotDelivered::TwoPlaces)));
    }

    async fn with_other_keys_or_without_its_bucket_nothing_is_acknowledged_and_all_else_goes_on(stage) {
        let mut stage = with_s3(stage);
        let (file, good) = (ciphertext(100), stage.config.deliveries.s3.clone().unwrap());
        let town = with_box(&stage).await;
        town.kms.kill();
        drop(started(&stage, None));
        assert_eq!(doctor(&stage), ["box"]);
        assert_eq!(files(&stage), 0, "of what was tried nothing is left");

        // Signed with another secret: the server checks.
        let credentials_file = secret(&good.credentials_file.with_file_name("other"), &keys("another"), 0o600);
        stage.config.deliveries.s3 = Some(S3Settings { credentials_file, ..good.clone() });
        drop(started(&stage, None));
        assert_eq!(doctor(&stage), ["box-s3-refused"]);
        let town = Town::open(&stage).await;
        is_refused(&town, &file).await;
        serves_all_else(&town).await;
        town.kms.kill();

        stage.config.deliveries.s3 = Some(S3Settings { bucket: "elsewhere".to_owned(), ..good.clone() });
        drop(started(&stage, None));
        assert_eq!(doctor(&stage), ["box-s3-no-bucket"]);
        let town = Town::open(&stage).await;
        is_refused(&town, &file).await;
        serves_all_else(&town).await;
        town.kms.kill();

        // Put right, the same delivery goes on.
        stage.config.deliveries.s3 = Some(good);
        let town = Town::open(&stage).await;
        let delivery = begun(&town, &file).await;
        arrives(&town, &delivery, &file).await;
        assert_eq!(taken(&town.card("hanako"), &delivery.id, 0).await.unwrap(), file);
    }

    async fn killed_in_the_middle_it_loses_nothing_that_was_acknowledged(stage) {
        let mut stage = with_s3(stage);
        let town = with_box(&stage).await;
        let (jiro, hanako) = (town.card("jiro"), town.card("hanako"));
        let file = ciphertext(2 * PART_BYTES + 3);
        let parts: Vec<&[u8]> = file.chunks(PART_BYTES).collect();
        let delivery = begun(&town, &file).await;
        put(&jiro, &delivery.id, 0, parts[0]).await.unwrap();

        // While a part is on its way.
        let path = format!("/v1/deliveries/{}/parts/1", delivery.id);
        let bytes = Bytes::copy_from_slice(parts[1]);
        let carrying = tokio::spawn({
            let jiro = town.card("jiro");
            async move { jiro.forward(Method::PUT, &path, bytes).await.unwrap().0 }
        });
        tokio::task::yield_now().await;
        stage.s3.as_mut().unwrap().kill();
        let came = carrying.await.unwrap().is_success();
        let missing: &[u64] = if came { &[2] } else { &[1, 2] };
        assert_eq!(put(&jiro, &delivery.id, 2, parts[2]).await, Err(ErrorCode::StorageUnavailable));
        assert_eq!(state(&jiro, &delivery.id).await, arriving(missing));
        serves_all_else(&town).await;

        stage.s3.as_mut().unwrap().start_again();
        for part in missing {
            put(&jiro, &delivery.id, *part, parts[usize::try_from(*part).unwrap()]).await.unwrap();
        }
        // Away while all is read once more: it is not complete, and nothing is thrown away.
        stage.s3.as_mut().unwrap().kill();
        let completion = warifu_api::wire::deliveries::Completion { digest: delivery.digest };
        let path = format!("/v1/deliveries/{}/complete", delivery.id);
        assert_eq!(code(jiro.post::<Delivered>(&path, &completion).await), ErrorCode::StorageUnavailable);
        assert_eq!(state(&jiro, &delivery.id).await, arriving(&[]));
        stage.s3.as_mut().unwrap().start_again();
        assert!(matches!(complete(&jiro, &delivery.id, &file).await.state, DeliveryState::Arrived { .. }));

        stage.s3.as_mut().unwrap().kill();
        assert_eq!(taken(&hanako, &delivery.id, 0).await, Err(ErrorCode::StorageUnavailable));
        // The authority starts without it as well.
        town.kms.kill();
        let town = Town::open(&stage).await;
        serves_all_else(&town).await;
        let hanako = town.card("hanako");
        assert_eq!(taken(&hanako, &delivery.id, 0).await, Err(ErrorCode::StorageUnavailable));
        stage.s3.as_mut().unwrap().start_again();
        for (part, bytes) in (0..).zip(&parts) {
            assert_eq!(taken(&hanako, &delivery.id, part).await.unwrap(), *bytes);
        }
    }

    async fn what_ended_while_it_was_away_is_deleted_once_it_is_back(stage) {
        let mut stage = with_s3(stage);
        let town = with_box(&stage).await;
        let file = ciphertext(PART_BYTES + 1);
        let delivery = begun(&town, &file).await;
        arrives(&town, &delivery, &file).await;
        assert_eq!(files(&stage), 1);
        // What others keep in the bucket is theirs.
        let others = stage.s3.as_ref().unwrap().folder.join(BUCKET).join("大町市/others");
        std::fs::write(&others, "not ours").unwrap();
        stage.s3.as_mut().unwrap().kill();
        town.kms.clock.advance_ms(90 * DAY);
        assert!(matches!(state(&town.stranger(), &delivery.id).await, DeliveryState::Deleted { .. }));
        assert_eq!(taken(&town.card("hanako"), &delivery.id, 0).await, Err(ErrorCode::NotFound));
        town.kms.kill();
        stage.s3.as_mut().unwrap().start_again();
        let _town = Town::open(&stage).await;
        swept_to(&stage, 0).await;
        assert!(others.exists());
    }

    async fn other_bytes_than_were_put_become_no_delivery(stage) {
        let stage = with_s3(stage);
        let town = with_box(&stage).await;
        let (jiro, hanako) = (town.card("jiro"), town.card("hanako"));
        let file = ciphertext(PART_BYTES + 100);
        let delivery = begun(&town, &file).await;
        let object = stage.s3.as_ref().unwrap().object(&delivery.id, 1);
        let thrown_away = DeliveryState::Arriving { missing: vec![0, 1], other_file: true };
        for lie in [&[7; 100][..], &[7; 99], &[7; 101], &[]] {
            for (part, bytes) in (0..).zip(file.chunks(PART_BYTES)) {
                put(&jiro, &delivery.id, part, bytes).await.unwrap();
            }
            std::fs::write(&object, lie).unwrap();
            assert_eq!(complete(&jiro, &delivery.id, &file).await.state, thrown_away, "{} bytes", lie.len());
        }
        arrives(&town, &delivery, &file).await;
        // And later another length is handed to nobody; other bytes are found out by whoever takes them.
        std::fs::write(&object, [7; 99]).unwrap();
        assert_eq!(taken(&hanako, &delivery.id, 1).await, Err(ErrorCode::StorageUnavailable));
        std::fs::remove_file(&object).unwrap();
        assert_eq!(taken(&hanako, &delivery.id, 1).await, Err(ErrorCode::StorageUnavailable));
        std::fs::write(&object, &file[PART_BYTES..]).unwrap();
        assert_eq!(taken(&hanako, &delivery.id, 1).await.unwrap(), file[PART_BYTES..]);
    }

    async fn one_that_says_nothing_is_not_waited_for_without_end(stage) {
        let mut stage = with_s3(stage);
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", silent.local_addr().unwrap());
        tokio::spawn(async move {
            let mut held = Vec::new();
            loop {
                held.push(silent.accept().await.unwrap());
            }
        });
        stage.config.deliveries.s3.as_mut().unwrap().endpoint = endpoint;
        let town = with_box(&stage).await;
        serves_all_else(&town).await;
        // Whoever brings it waits longer.
        let jiro = town.card("jiro").with_timeout(std::time::Duration::from_secs(90));
        let delivery = begun(&town, &[7]).await;
        assert_eq!(put(&jiro, &delivery.id, 0, &[7]).await, Err(ErrorCode::StorageUnavailable));
        assert_eq!(state(&jiro, &delivery.id).await, arriving(&[0]));
    }

    async fn over_tls_it_has_to_prove_itself(stage) {
        let mut stage = with_s3(stage);
        let folder = stage.config.data.parent().unwrap().to_owned();
        let (ca, tls) = certified();
        let s3 = stage.s3.as_mut().unwrap();
        s3.kill();
        s3.serve(Some(tls));
        let endpoint = format!("https://localhost:{}", s3.address.rsplit_once(':').unwrap().1);
        let settings = stage.config.deliveries.s3.as_mut().unwrap();
        *settings = S3Settings { endpoint, ca_file: None, ..settings.clone() };
        let town = with_box(&stage).await;
        is_refused(&town, &[7]).await;
        town.kms.kill();
        let ca_file = secret(&folder.join("ca.pem"), &ca, 0o644);
        stage.config.deliveries.s3.as_mut().unwrap().ca_file = Some(ca_file);
        let town = Town::open(&stage).await;
        let delivery = begun(&town, &[7]).await;
        arrives(&town, &delivery, &[7]).await;
        assert_eq!(taken(&town.card("hanako"), &delivery.id, 0).await.unwrap()[..], [7]);
    }
}

/// An authority, in PEM, and a server with a certificate of it for `localhost`.
fn certified() -> (String, TlsAcceptor) {
    let ca_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(params, ca_key);
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    (ca.pem(), TlsAcceptor::from(Arc::new(config)))
}
