// SPDX-License-Identifier: GPL-2.0
/*
 * The device's clock, and what it shows on the clock of this machine.
 *
 * The device's times are of its own monotonic clock, which has nothing to do with
 * this machine's but that both run at one rate, or nearly so. A frame cannot come
 * before it was taken: what the clock here shows when a frame comes, less the time
 * that the device says, is at least what lies between the two clocks, and more by
 * as long as the frame was under way. The least of these differences is the best
 * that is known, and no frame is later than now by it. Differences are forgotten
 * after a while, so that two clocks that drift apart are followed.
 */
#include <linux/minmax.h>
#include <linux/limits.h>
#include <linux/time64.h>

#include "clock.h"

/* How long a difference between the clocks counts: so long, to twice that. */
#define PINHOLE_CLOCK_WINDOW (4LL * NSEC_PER_SEC)

/* A stream starts: nothing is known of the device's clock. */
void pinhole_clock_start(struct pinhole_clock *clock)
{
	clock->least = S64_MAX;
	clock->before = S64_MAX;
	clock->until = 0;
	clock->theirs = 0;
	clock->last = 0;
}

/*
 * The device's time on the clock of this machine, where it is now @now. A device
 * whose time goes back has set its clock: what was known of it is no longer so.
 */
static s64 pinhole_clock_map(struct pinhole_clock *clock, s64 theirs, s64 now)
{
	if (theirs < clock->theirs) {
		clock->least = S64_MAX;
		clock->until = 0;
	}
	clock->theirs = theirs;

	if (now >= clock->until) {
		clock->before = now - clock->until < PINHOLE_CLOCK_WINDOW ?
				clock->least : S64_MAX;
		clock->least = S64_MAX;
		clock->until = now + PINHOLE_CLOCK_WINDOW;
	}
	clock->least = min(clock->least, now - theirs);
	return theirs + min(clock->least, clock->before);
}

/**
 * pinhole_clock_stamp() - the time of a buffer
 * @clock: the device's clock
 * @theirs: the device's time of the buffer in nanoseconds; 0 if it says none
 * @now: what the clock of this machine shows, likewise
 *
 * Context: Any; the caller keeps others from the clock.
 * Return: Nanoseconds on the clock of this machine: no less than of the buffer
 * before, and no more than now. Now, if the device says no time.
 */
u64 pinhole_clock_stamp(struct pinhole_clock *clock, s64 theirs, s64 now)
{
	s64 time = theirs ? pinhole_clock_map(clock, theirs, now) : now;

	clock->last = max(clock->last, time);
	return clock->last;
}
