//! Archives (tar, POSIX.1-1988 ustar): of scanned forms, as large as somebody needs it, and of given files.

use std::io::{BufWriter, Write};

use anyhow::{Context as _, Result};

use super::Draws;

const BLOCK: usize = 512;
/// One scan: as much as a page in colours takes.
const SCAN: usize = 1 << 20;

/// Writes an archive with `mebibytes` scans of 1 MiB each.
///
/// # Errors
/// Where it cannot be written.
pub fn write(to: impl Write, mebibytes: usize) -> Result<()> {
    let mut to = BufWriter::with_capacity(SCAN, to);
    let mut draws = Draws::from_seed(20_141_120);
    let mut scan = vec![0; SCAN];
    draws.fill(&mut scan);
    for number in 1..=mebibytes {
        to.write_all(&header(&format!("scans/{number:06}.raw"), SCAN)?)?;
        // Drawing each byte of each scan takes a while; no two begin at the same place.
        scan.rotate_left(1 + draws.below(SCAN - 1));
        to.write_all(&scan)?;
    }
    to.write_all(&[0; 2 * BLOCK])?;
    Ok(to.flush()?)
}

/// An archive of these files, each by its name of at most 100 bytes.
///
/// # Errors
/// Where a name is longer.
pub fn of(files: &[(String, Vec<u8>)]) -> Result<Vec<u8>> {
    let mut archive = Vec::new();
    for (name, content) in files {
        archive.extend(header(name, content.len())?);
        archive.extend(content);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    archive.extend([0; 2 * BLOCK]);
    Ok(archive)
}

fn header(name: &str, size: usize) -> Result<[u8; BLOCK]> {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, field: &[u8]| -> Result<()> {
        header.get_mut(at..at + field.len()).context("a field outside of its header")?.copy_from_slice(field);
        Ok(())
    };
    put(0, name.as_bytes())?;
    put(100, b"0000644\0")?;
    put(108, b"0000000\0")?;
    put(116, b"0000000\0")?;
    put(124, format!("{size:011o}\0").as_bytes())?;
    // 20 November 2014.
    put(136, format!("{:011o}\0", 1_416_409_200).as_bytes())?;
    put(148, b"        ")?;
    put(156, b"0")?;
    put(257, b"ustar\x0000")?;
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let sum = format!("{sum:06o}\0 ");
    header.get_mut(148..156).context("a field outside of its header")?.copy_from_slice(sum.as_bytes());
    Ok(header)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{of, write};

    #[test]
    fn tar_reads_the_archive() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let archive = folder.path().join("scans.tar");
        write(std::fs::File::create(&archive)?, 2)?;
        let listed = Command::new("tar").arg("-tf").arg(&archive).output()?;
        assert_eq!(String::from_utf8(listed.stdout)?, "scans/000001.raw\nscans/000002.raw\n");
        assert_eq!(String::from_utf8(listed.stderr)?, "");

        std::fs::write(
            &archive,
            of(&[("F040.png".to_owned(), vec![7; 700]), ("F041.png".to_owned(), vec![8; 512])])?,
        )?;
        let second = Command::new("tar").arg("-xOf").arg(&archive).arg("F041.png").output()?;
        assert_eq!((second.stdout, String::from_utf8(second.stderr)?), (vec![8; 512], String::new()));
        Ok(())
    }
}
