//! 5: deletion leaves nothing on the engine, also when it comes in the middle of a creation.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::e2e::shell::{now, until};
use crate::e2e::stage::Stage;

/// How long the deletion of 1+1 may take.
const DELETION: Duration = Duration::from_mins(2);

pub fn play(stage: &Stage) -> Result<()> {
    let plane = stage.plane()?;
    let cluster = stage.created(&plane, 1, 1)?;
    let start = now();
    cluster.delete(DELETION)?;
    stage.fact("deleted", start);
    stage.check_nothing_left()?;

    // Once more, before the first machine has finished booting.
    let half = stage.cluster(&plane, "-half");
    plane.apply(&plane.generate(&half.name, stage.site.version(), 1, 1)?)?;
    until("the first machine boots", Duration::from_mins(1), || {
        plane.alive()?;
        let running = half.control_planes()?.iter().any(|container| container.running);
        if running { Ok(()) } else { bail!("no control plane container runs") }
    })?;
    std::thread::sleep(Duration::from_secs(3));
    let start = now();
    half.delete(DELETION)?;
    stage.fact("deleted while booting", start);
    stage.check_nothing_left()
}
