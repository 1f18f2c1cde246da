/* Keeps two virtual machines open for as long as the virtual node lives, and does nothing with them.
 *
 * Linux patches its own code (static keys) when the first VM is made and when the last one goes, likewise for the first
 * vCPU without a local APIC and the first with one that is switched off. QEMU (seen with 7.2, its CPUs in parallel) sometimes
 * goes on executing the breakpoint that the patching puts there for a moment: it translates code that another CPU is just
 * changing. The node then hangs in its scheduler. With these VMs there is no first and no last.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

int main(void)
{
    int kvm = open("/dev/kvm", O_RDWR);
    int with_apic = ioctl(kvm, KVM_CREATE_VM, 0);
    int without = ioctl(kvm, KVM_CREATE_VM, 0);

    if (ioctl(with_apic, KVM_CREATE_IRQCHIP, 0) || ioctl(with_apic, KVM_CREATE_VCPU, 0) < 0 ||
        ioctl(without, KVM_CREATE_VCPU, 0) < 0) {
        perror("hold_kvm");
        return 1;
    }
    puts("held");
    fflush(stdout);
    for (;;)
        pause();
}
