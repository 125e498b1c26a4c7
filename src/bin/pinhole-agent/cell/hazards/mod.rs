//! What happens to the memory while the device has it.

mod mappings;
mod migration;
mod offline;
mod processes;
mod reclaim;
pub mod scene;

use pinhole::agent::cell::Hazard;

use self::scene::Scene;
use super::{Stop, setup};

/// What a hazard needs before the memory is laid out.
pub fn prepare(hazard: Hazard) -> Result<(), Stop> {
    match hazard {
        Hazard::MadvisePageout => setup::swap(),
        Hazard::MemoryPressure => {
            setup::swap()?;
            reclaim::enter_cgroup()
        }
        Hazard::MovePages | Hazard::MigratePages => migration::check_nodes(),
        _ => Ok(()),
    }
}

/// Lets a hazard come; those that are about the device and its calls are not for here.
pub fn come(hazard: Hazard, scene: &mut Scene<'_>) -> Result<(), Stop> {
    match hazard {
        Hazard::None
        | Hazard::Close
        | Hazard::Streamoff
        | Hazard::MmapContention
        | Hazard::FailNth => Ok(()),
        Hazard::ForkParentWrites => processes::fork_parent_writes(scene),
        Hazard::ForkChildWrites => processes::fork_child_writes(scene),
        Hazard::ForkChildExits => processes::fork_child_exits(scene),
        Hazard::Exit => processes::exit(),
        Hazard::Sigkill => processes::kill(),
        Hazard::Munmap => mappings::unmap(scene),
        Hazard::MunmapMmap => mappings::map_anew(scene),
        Hazard::Mremap => mappings::remap(scene),
        Hazard::MprotectReadOnly => mappings::protect(scene),
        Hazard::MadviseDontneed => mappings::give_up(scene),
        Hazard::MadvisePageout => reclaim::page_out(scene),
        Hazard::DropCaches => reclaim::drop_caches(scene),
        Hazard::Writeback => reclaim::write_back(scene),
        Hazard::MemoryPressure => reclaim::press(scene),
        Hazard::MadviseCollapse => migration::collapse(scene),
        Hazard::Khugepaged => migration::khugepaged(scene),
        Hazard::Ksm => migration::ksm(scene),
        Hazard::MovePages => migration::move_pages(scene),
        Hazard::MigratePages => migration::migrate(scene),
        Hazard::Compaction => migration::compact(scene),
        Hazard::MemoryOffline => offline::offline(scene),
    }
}
