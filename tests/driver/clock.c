// SPDX-License-Identifier: GPL-2.0
#include <linux/types.h>

#include "clock.h"
#include "units.h"

#define MS 1000000LL
#define SECOND (1000 * MS)

/* The device's clock is ahead of this machine's by this much. */
#define AHEAD (1234 * SECOND)

/* A frame taken at @taken, on this machine's clock, that came at @came. */
static u64 stamp(struct pinhole_clock *clock, s64 taken, s64 came)
{
	return pinhole_clock_stamp(clock, taken + AHEAD, came);
}

static void a_frame_that_was_long_under_way_has_the_time_it_was_taken(void)
{
	struct pinhole_clock clock;

	pinhole_clock_start(&clock);
	/* Nothing better is known than that it came. */
	EXPECT(stamp(&clock, 5 * SECOND, 5 * SECOND + MS) == 5 * SECOND + MS);
	EXPECT(stamp(&clock, 5 * SECOND + 100 * MS, 5 * SECOND + 150 * MS) ==
	       5 * SECOND + 101 * MS);
	/* One came at once: the difference is known better. */
	EXPECT(stamp(&clock, 5 * SECOND + 200 * MS, 5 * SECOND + 200 * MS) ==
	       5 * SECOND + 200 * MS);
	EXPECT(stamp(&clock, 5 * SECOND + 300 * MS, 5 * SECOND + 390 * MS) ==
	       5 * SECOND + 300 * MS);
}

static void no_time_is_later_than_now_or_before_the_last(void)
{
	struct pinhole_clock clock;
	u64 last = 0;
	s64 now;

	pinhole_clock_start(&clock);
	/* The device's clock runs too fast, by a part in a hundred. */
	for (now = SECOND; now < 60 * SECOND; now += 33 * MS) {
		u64 time = stamp(&clock, now + now / 100, now);

		EXPECT(time <= (u64)now && time >= last);
		last = time;
	}
	/* And the other one too slow: it is followed, if late. */
	for (; now < 120 * SECOND; now += 33 * MS) {
		u64 time = stamp(&clock, now - now / 100 + 2 * SECOND, now);

		EXPECT(time <= (u64)now && time >= last);
		last = time;
	}
	EXPECT(now - (s64)last < 150 * MS);
}

static void a_buffer_without_a_time_has_that_at_which_it_came(void)
{
	struct pinhole_clock clock;

	pinhole_clock_start(&clock);
	EXPECT(pinhole_clock_stamp(&clock, 0, 4 * SECOND) == 4 * SECOND);
	EXPECT(stamp(&clock, 5 * SECOND, 5 * SECOND) == 5 * SECOND);
	EXPECT(pinhole_clock_stamp(&clock, 0, 7 * SECOND) == 7 * SECOND);
	/* A frame that was taken before it, and comes after it. */
	EXPECT(stamp(&clock, 6 * SECOND, 7 * SECOND + MS) == 7 * SECOND);
	/* What was known of the clock still is. */
	EXPECT(stamp(&clock, 7 * SECOND + 500 * MS, 7 * SECOND + 600 * MS) ==
	       7 * SECOND + 500 * MS);
}

static void a_clock_that_was_set_back_is_learned_anew(void)
{
	struct pinhole_clock clock;

	pinhole_clock_start(&clock);
	EXPECT(stamp(&clock, 5 * SECOND, 5 * SECOND) == 5 * SECOND);
	EXPECT(stamp(&clock, -100 * SECOND, 6 * SECOND) == 6 * SECOND);
	EXPECT(stamp(&clock, -99 * SECOND, 7 * SECOND + MS) == 7 * SECOND);
}

static void the_ends_of_the_range_do_no_harm(void)
{
	struct pinhole_clock clock;

	pinhole_clock_start(&clock);
	EXPECT(pinhole_clock_stamp(&clock, 0x7ffffffffffffffeLL, 1) == 1);
	EXPECT(pinhole_clock_stamp(&clock, 1, 2) == 2);
}

void clock_units(void)
{
	a_frame_that_was_long_under_way_has_the_time_it_was_taken();
	no_time_is_later_than_now_or_before_the_last();
	a_buffer_without_a_time_has_that_at_which_it_came();
	a_clock_that_was_set_back_is_learned_anew();
	the_ends_of_the_range_do_no_harm();
}
