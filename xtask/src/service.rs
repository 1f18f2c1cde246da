//! The service VM's default kernel and initramfs: Debian's cloud kernel, unchanged, and our agent as its first process.
//!
//! The same inputs give the same bytes: the archive has no times, and its order is this program's. It is not compressed:
//! unpacking costs more than reading, above all where the VM is emulated.

use std::path::{Path, PathBuf};

use crate::{
    error::Error,
    node::kernel::Kernel,
    rootfs::{self, add},
};

/// Modules in the order to load them. The rest of what is needed, ext4 for one, is in the kernel.
const MODULES: [&str; 16] = [
    "drivers/virtio/virtio_ring.ko",
    "drivers/virtio/virtio.ko",
    "drivers/virtio/virtio_pci_modern_dev.ko",
    "drivers/virtio/virtio_pci_legacy_dev.ko",
    "drivers/virtio/virtio_pci.ko",
    "drivers/char/virtio_console.ko",
    "drivers/char/hw_random/virtio-rng.ko",
    "drivers/block/virtio_blk.ko",
    "net/core/failover.ko",
    "drivers/net/net_failover.ko",
    "drivers/net/virtio_net.ko",
    "net/vmw_vsock/vsock.ko",
    "net/vmw_vsock/vmw_vsock_virtio_transport_common.ko",
    "net/vmw_vsock/vmw_vsock_virtio_transport.ko",
    // Memory of LWKs. Without the module `kmem`, which would make it Linux's own.
    "drivers/dax/hmem/dax_hmem.ko",
    "drivers/dax/device_dax.ko",
];

/// What a service VM boots.
pub struct Images {
    /// The kernel's file.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initramfs: Vec<u8>,
}

/// Packs the initramfs from programs in `built`.
pub fn build(built: &Path) -> Result<Images, Error> {
    let kernel = Kernel::find_or_download()?;
    let mut archive = rootfs::skeleton()?;
    add(&mut archive, &built.join("margay-agent"), "init")?;
    for program in ["margay-proxy", "margay-bench"] {
        add(&mut archive, &built.join(program), &format!("bin/{program}"))?;
    }
    rootfs::modules(&mut archive, &kernel, &MODULES)?;
    Ok(Images { kernel: kernel.image, initramfs: archive.finish() })
}
