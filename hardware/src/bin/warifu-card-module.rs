//! `warifu-card-module`: the process in which a vendor's PKCS#11 module runs. The agent starts one for each module and token,
//! speaks with it over its standard input and output, and kills it when it does not answer.

/// Memory that is freed is wiped: PINs pass through the buffers of JSON, which do not do so themselves.
#[global_allocator]
static MEMORY: zeroizing_alloc::ZeroAlloc<std::alloc::System> =
    zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() -> std::process::ExitCode {
    warifu_hardware::card::pkcs11::serve()
}
