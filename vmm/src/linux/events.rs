//! The guest's device thread: waits for queues' kicks and for devices' own descriptors, and serves them one after the other.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};
use kvm_ioctls::VmFd;

use super::end::{EndOnPanic, Ending, LinuxEnd};
use super::virtio::VirtioPci;

/// A device of a guest on KVM.
pub(super) type Device = VirtioPci<Arc<VmFd>>;

/// Serves `devices` until the guest ends.
pub(super) fn serve(devices: Vec<Arc<Device>>, ending: &Arc<Ending>) {
    let _guard = EndOnPanic(ending);
    if let Err(error) = try_serve(devices, ending) {
        ending.set(LinuxEnd::Failed(format!("the device thread failed: {error}")));
    }
}

fn try_serve(devices: Vec<Arc<Device>>, ending: &Arc<Ending>) -> event_manager::Result<()> {
    let mut manager = EventManager::<Box<dyn MutEventSubscriber>>::new()?;
    manager.add_subscriber(Box::new(EndEvent(Arc::clone(ending))));
    for device in devices {
        let sources = device.sources();
        manager.add_subscriber(Box::new(DeviceEvents {
            device,
            sources,
            ending: Arc::clone(ending),
        }));
    }
    while !ending.is_set() {
        manager.run()?;
    }
    Ok(())
}

/// Wakes the loop when the guest has ended.
struct EndEvent(Arc<Ending>);

impl MutEventSubscriber for EndEvent {
    fn process(&mut self, _events: Events, _ops: &mut EventOps) {}

    fn init(&mut self, ops: &mut EventOps) {
        watch(ops, self.0.event().as_raw_fd(), SOURCE, &self.0);
    }
}

/// What belongs to one device. An event's data is the index of a queue, or [`SOURCE`].
struct DeviceEvents {
    device: Arc<Device>,
    sources: Vec<RawFd>,
    ending: Arc<Ending>,
}

const SOURCE: u32 = u32::MAX;

impl MutEventSubscriber for DeviceEvents {
    fn process(&mut self, events: Events, _ops: &mut EventOps) {
        match events.data() {
            SOURCE => self.device.ready(events.fd()),
            queue => self.device.kicked(queue as usize),
        }
    }

    fn init(&mut self, ops: &mut EventOps) {
        for (index, (_, kick)) in self.device.kicks().enumerate() {
            watch(ops, kick.as_raw_fd(), index as u32, &self.ending);
        }
        for source in &self.sources {
            watch(ops, *source, SOURCE, &self.ending);
        }
    }
}

/// Waits for `descriptor`; a device that is not heard ends the guest, rather than hang it.
fn watch(ops: &mut EventOps, descriptor: RawFd, data: u32, ending: &Ending) {
    if let Err(error) = ops.add(Events::with_data_raw(descriptor, data, EventSet::IN)) {
        let error = io::Error::other(error.to_string());
        ending.set(LinuxEnd::Failed(format!("cannot wait for a device: {error}")));
    }
}
