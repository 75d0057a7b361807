//! Reading the bodies of requests.

use axum::body::Body;
use futures_util::StreamExt as _;
use zeroize::{Zeroize as _, Zeroizing};

/// How much of a body that is too large is passed over before the connection is given up, in bytes: whoever is still sending
/// would not hear the answer.
const PASSED_OVER: usize = 1 << 20;

/// Reads a body; none if it is larger than `limit` bytes. It may hold a secret: no copy is left behind.
///
/// # Errors
/// What broke it off.
pub async fn read(body: Body, limit: usize) -> Result<Option<Zeroizing<Vec<u8>>>, axum::Error> {
    let mut frames = body.into_data_stream();
    let (mut bytes, mut length) = (Zeroizing::new(Vec::new()), 0_usize);
    while let Some(frame) = frames.next().await {
        let frame = frame?;
        length = length.saturating_add(frame.len());
        if length <= limit {
            append(&mut bytes, &frame, limit);
        } else {
            bytes = Zeroizing::default();
        }
        if let Ok(mut frame) = frame.try_into_mut() {
            frame.zeroize();
        }
        if length > limit.saturating_add(PASSED_OVER) {
            break;
        }
    }
    Ok((length <= limit).then_some(bytes))
}

/// Reads past a body for which there is no room, as far as [`read`] does beyond its limit: whoever is still sending hears the
/// refusal that follows.
pub async fn pass_over(body: Body) {
    // Whoever breaks it off hears nothing anyway.
    drop(read(body, 0).await);
}

/// As `extend_from_slice`; where the bytes have to move, their old place is wiped. At most `limit` bytes will come.
fn append(bytes: &mut Zeroizing<Vec<u8>>, more: &[u8], limit: usize) {
    let length = bytes.len() + more.len();
    if length > bytes.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(length.max(limit.min(2 * bytes.capacity()))));
        larger.extend_from_slice(bytes);
        *bytes = larger;
    }
    bytes.extend_from_slice(more);
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::body::Bytes;
    use futures_util::stream;

    use super::*;

    const FRAME: usize = 64 << 10;

    /// What came of a body of so many frames, and how many of them were read.
    async fn read_of(frames: usize, limit: usize) -> (Option<usize>, usize) {
        let taken = Arc::new(AtomicUsize::new(0));
        let counted = taken.clone();
        let body = stream::iter((0..frames).map(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok::<_, Infallible>(Bytes::from(vec![7; FRAME]))
        }));
        let read = read(Body::from_stream(body), limit).await.unwrap();
        (read.map(|bytes| bytes.len()), taken.load(Ordering::SeqCst))
    }

    #[tokio::test]
    async fn of_a_body_that_is_too_large_little_is_passed_over() {
        assert_eq!(read_of(4, 4 * FRAME).await, (Some(4 * FRAME), 4));
        assert_eq!(read_of(5, 4 * FRAME).await, (None, 5), "to its end, so that the answer is heard");
        let (read, taken) = read_of(10_000, 4 * FRAME).await;
        assert_eq!(read, None);
        assert!(taken * FRAME <= (4 * FRAME) + (1 << 20) + FRAME, "{taken} frames");
    }
}
