//! The HSM with nothing around it: ECDH by PKCS#11 calls, on session keys, each thread with a session of its own.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::elliptic_curve::{EcKdf, Ecdh1DeriveParams};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use serde::{Deserialize, Serialize};

use crate::figures::{Times, rate};
use crate::fixture::public_of;
use crate::town::cpu;

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "2468-bench";
/// `secp256r1`, 1.2.840.10045.3.1.7, as DER (RFC 5480, section 2.1.1.1).
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// What the HSM does alone.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Raw {
    /// A second.
    pub(crate) rate: f64,
    pub(crate) median_ms: f64,
    pub(crate) p99_ms: f64,
    /// The processors' time for each operation: less than the time that passed, where others have the same cores.
    pub(crate) cpu_us: f64,
}

/// Measures for so long, and prints it as JSON.
pub(crate) fn measure(seconds: u64, threads: usize) -> Result<()> {
    let context = Pkcs11::new(Path::new(MODULE))?;
    context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
    let slot = token(&context)?;
    let time = Duration::from_secs(seconds);
    let sessions = (0..threads).map(|_| Ok(context.open_rw_session(slot)?)).collect::<Result<Vec<_>>>()?;
    let first = sessions.first().context("no session")?;
    first.login(UserType::User, Some(&AuthPin::new(PIN.into())))?;
    let (started, before) = (Instant::now(), cpu("self")?);
    let times = std::thread::scope(|scope| {
        let running: Vec<_> =
            sessions.into_iter().map(|session| scope.spawn(move || derive(&session, time))).collect();
        running
            .into_iter()
            .map(|one| one.join().unwrap_or_else(|_| Ok(Vec::new())))
            .collect::<Result<Vec<_>>>()
    })?;
    let (took, taken) = (started.elapsed(), cpu("self")?.saturating_sub(before));
    let times = Times::of(times.concat());
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    let raw = Raw {
        rate: rate(times.count(), took),
        median_ms: milliseconds(times.median()),
        p99_ms: milliseconds(times.percentile(99)),
        cpu_us: 1e6 / rate(times.count(), taken),
    };
    println!("{}", serde_json::to_string(&raw)?);
    Ok(())
}

/// A token, made for this.
fn token(context: &Pkcs11) -> Result<Slot> {
    let slot = context.get_slots_with_token()?.into_iter().next().context("no slot")?;
    let pin = AuthPin::new(PIN.into());
    context.init_token(slot, &pin, "bench")?;
    let session = context.open_rw_session(slot)?;
    session.login(UserType::So, Some(&pin))?;
    session.init_pin(&pin)?;
    session.logout()?;
    Ok(slot)
}

fn derive(session: &Session, time: Duration) -> Result<Vec<Duration>> {
    let public = [Attribute::Token(false), Attribute::Private(false), Attribute::EcParams(P256.to_vec())];
    let private = [Attribute::Token(false), Attribute::Sensitive(true), Attribute::Derive(true)];
    let (_, key) = session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)?;
    let peer = public_of("R").0.to_uncompressed();
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::ValueLen(32.into()),
        Attribute::Token(false),
        Attribute::Sensitive(false),
        Attribute::Extractable(true),
    ];
    let mut times = Vec::new();
    let until = Instant::now() + time;
    while Instant::now() < until {
        let started = Instant::now();
        let mechanism = Mechanism::Ecdh1Derive(Ecdh1DeriveParams::new(EcKdf::null(), &peer));
        let shared = session.derive_key(&mechanism, key, &template)?;
        session.get_attributes(shared, &[AttributeType::Value])?;
        session.destroy_object(shared)?;
        times.push(started.elapsed());
    }
    Ok(times)
}
