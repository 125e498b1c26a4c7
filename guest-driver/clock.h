/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The device's clock, and what it shows on the clock of this machine.
 */
#ifndef PINHOLE_CLOCK_H
#define PINHOLE_CLOCK_H

#include <linux/types.h>

/**
 * struct pinhole_clock - the device's clock as it is known in a stream
 * @least: least difference between the clocks in this window, in nanoseconds
 * @before: likewise, in the window before; S64_MAX for either if there is none
 * @until: when this window ends, on the clock of this machine
 * @theirs: time of the last frame on the device's clock
 * @last: time of the last buffer on the clock of this machine
 */
struct pinhole_clock {
	s64 least;
	s64 before;
	s64 until;
	s64 theirs;
	s64 last;
};

void pinhole_clock_start(struct pinhole_clock *clock);
u64 pinhole_clock_stamp(struct pinhole_clock *clock, s64 theirs, s64 now);

#endif /* PINHOLE_CLOCK_H */
