//! The hazards: what happens to the memory while the device owns it.

pub mod context;
mod damon;
mod dmabufs;
mod mappings;
mod migration;
mod numa;
mod offline;
mod processes;
mod reclaim;
mod suspend;
mod users;

use crate::agent::cell::Hazard;

use self::context::HazardContext;
use super::device_mirror::DeviceMirror;
use super::{Stop, setup};

/// Prepares what a hazard needs, before the memory is laid out.
pub fn prepare(hazard: Hazard) -> Result<(), Stop> {
    if hazard.is_to_the_machine() {
        setup::permit(format_args!("the hazard {hazard}"))?;
    }
    match hazard {
        Hazard::MadvisePageout | Hazard::Swapoff => setup::swap(),
        Hazard::DamonPageout => {
            damon::prepare()?;
            setup::swap()
        }
        Hazard::MemoryPressure => {
            setup::swap()?;
            reclaim::enter_cgroup()
        }
        Hazard::MovePages | Hazard::MigratePages => migration::check_nodes(),
        Hazard::SoftOffline => migration::check_offlining(),
        Hazard::DeviceTakes => DeviceMirror::open().map(drop),
        Hazard::NumaBalancing => numa::prepare(),
        Hazard::Suspend => suspend::check(),
        _ => Ok(()),
    }
}

/// Executes a hazard; hazards about the device and its calls are handled
/// elsewhere.
pub fn run(hazard: Hazard, context: &mut HazardContext<'_>) -> Result<(), Stop> {
    match hazard {
        Hazard::None
        | Hazard::Close
        | Hazard::Streamoff
        | Hazard::MmapContention
        | Hazard::QueuedTwice
        | Hazard::FailNth => Ok(()),
        Hazard::ForkParentWrites => processes::fork_parent_writes(context),
        Hazard::ForkChildWrites => processes::fork_child_writes(context),
        Hazard::ForkChildExits => processes::fork_child_exits(context),
        Hazard::Exit => processes::exit(),
        Hazard::Sigkill => processes::kill(),
        Hazard::Munmap => mappings::unmap(context),
        Hazard::MunmapMmap => mappings::map_anew(context),
        Hazard::MapFixed => mappings::map_over(context),
        Hazard::Mremap => mappings::remap(context),
        Hazard::MremapDontunmap => mappings::remap_leaving(context),
        Hazard::MprotectReadOnly => mappings::protect(context),
        Hazard::MprotectNone => mappings::lock_away(context),
        Hazard::Munlock => mappings::lock_and_unlock(context),
        Hazard::MadviseDontneed => mappings::give_up(context),
        Hazard::MadviseRemove => mappings::punch(context),
        Hazard::MadviseFree => reclaim::free(context),
        Hazard::MadvisePageout => reclaim::page_out(context),
        Hazard::DamonPageout => damon::page_out(context),
        Hazard::Swapoff => reclaim::swap_off_and_on(context),
        Hazard::DropCaches => reclaim::drop_caches(context),
        Hazard::Writeback => reclaim::write_back(context),
        Hazard::MemoryPressure => reclaim::press(context),
        Hazard::ODirect => users::direct(context),
        Hazard::IoUring => users::io_uring(context),
        Hazard::Vmsplice => users::splice(context),
        Hazard::ProcessVmWritev => users::of_another_process(context),
        Hazard::ProcMem => users::of_debugger(context),
        Hazard::Signal => processes::signal(context),
        Hazard::Execve => processes::execute(),
        Hazard::MadviseCollapse => migration::collapse(context),
        Hazard::Khugepaged => migration::khugepaged(context),
        Hazard::ThpSplit => migration::split(context),
        Hazard::Ksm => migration::ksm(context),
        Hazard::MovePages => migration::move_pages(context),
        Hazard::MigratePages => migration::migrate(context),
        Hazard::DeviceTakes => migration::to_a_device(context),
        Hazard::NumaBalancing => numa::balance(context),
        Hazard::UffdioMove => migration::move_by_userfaultfd(context),
        Hazard::SoftOffline => migration::soft_offline(context),
        Hazard::Compaction => migration::compact(context),
        Hazard::MemoryOffline => offline::offline(context),
        Hazard::Suspend => suspend::sleep_and_wake(context),
        Hazard::DmabufClose => dmabufs::close(context),
        Hazard::DmabufSync => dmabufs::read_in_brackets(context),
        Hazard::MemfdTruncate => dmabufs::truncate(context),
        Hazard::MemfdPunch => dmabufs::punch(context),
        Hazard::ExporterFree => dmabufs::free(context),
        Hazard::ExporterClose => dmabufs::close_exporter(context),
        Hazard::ExporterUnbind => dmabufs::unbind_exporter(context),
        Hazard::ExporterUnload => dmabufs::unload_exporter(context),
    }
}
