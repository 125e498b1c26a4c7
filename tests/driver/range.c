// SPDX-License-Identifier: GPL-2.0
#include <linux/types.h>
#include <linux/limits.h>

#include "range.h"
#include "units.h"

static bool good(u32 type, s64 minimum, s64 maximum, u64 step, s64 value)
{
	struct v4l2_query_ext_ctrl q = {
		.type = type, .minimum = minimum, .maximum = maximum,
		.step = step, .default_value = value,
	};

	return pinhole_range_good(&q);
}

static void the_default_lies_in_the_range(void)
{
	static const u32 types[] = {
		V4L2_CTRL_TYPE_INTEGER, V4L2_CTRL_TYPE_INTEGER64,
		V4L2_CTRL_TYPE_MENU, V4L2_CTRL_TYPE_INTEGER_MENU,
	};
	unsigned int i;

	for (i = 0; i < sizeof(types) / sizeof(*types); i++) {
		EXPECT(good(types[i], 3, 9, 1, 3));
		EXPECT(good(types[i], 3, 9, 1, 9));
		EXPECT(!good(types[i], 3, 9, 1, 2));
		EXPECT(!good(types[i], 3, 9, 1, 10));
		EXPECT(!good(types[i], 9, 3, 1, 5));
	}
}

static void numbers_have_a_step_and_fit_their_type(void)
{
	EXPECT(!good(V4L2_CTRL_TYPE_INTEGER, 0, 9, 0, 5));
	EXPECT(!good(V4L2_CTRL_TYPE_INTEGER, 0, 9, S32_MAX + 1ULL, 5));
	EXPECT(good(V4L2_CTRL_TYPE_INTEGER, S32_MIN, S32_MAX, S32_MAX, 0));
	EXPECT(!good(V4L2_CTRL_TYPE_INTEGER, S32_MIN - 1LL, 9, 1, 5));
	EXPECT(!good(V4L2_CTRL_TYPE_INTEGER, 0, S32_MAX + 1LL, 1, 5));
	EXPECT(good(V4L2_CTRL_TYPE_INTEGER64, S64_MIN, S64_MAX, 1, 5));
	EXPECT(!good(V4L2_CTRL_TYPE_INTEGER64, S64_MIN, S64_MAX, 0, 5));
}

static void switches_and_menus_have_so_many_states(void)
{
	EXPECT(good(V4L2_CTRL_TYPE_BOOLEAN, 0, 1, 1, 1));
	EXPECT(!good(V4L2_CTRL_TYPE_BOOLEAN, 0, 2, 1, 1));
	EXPECT(!good(V4L2_CTRL_TYPE_BOOLEAN, -1, 1, 1, 0));
	EXPECT(good(V4L2_CTRL_TYPE_MENU, 0, PINHOLE_MAX_MENU - 1, 0, 0));
	EXPECT(!good(V4L2_CTRL_TYPE_MENU, 0, PINHOLE_MAX_MENU, 0, 0));
	EXPECT(!good(V4L2_CTRL_TYPE_INTEGER_MENU, -1, 5, 0, 0));
	EXPECT(good(V4L2_CTRL_TYPE_BITMASK, 0, U32_MAX, 0, 1LL << 31));
	EXPECT(!good(V4L2_CTRL_TYPE_BITMASK, 0, 0, 0, 0));
	EXPECT(!good(V4L2_CTRL_TYPE_BITMASK, 0, 6, 0, 1));
	EXPECT(!good(V4L2_CTRL_TYPE_BITMASK, 0, 1LL << 32, 0, 0));
}

static void texts_are_no_longer_than_their_room(void)
{
	EXPECT(good(V4L2_CTRL_TYPE_STRING, 0, PINHOLE_MAX_STRING, 1, 0));
	EXPECT(!good(V4L2_CTRL_TYPE_STRING, 0, PINHOLE_MAX_STRING + 1, 1, 0));
	EXPECT(!good(V4L2_CTRL_TYPE_STRING, 0, 9, 0, 0));
	EXPECT(!good(V4L2_CTRL_TYPE_STRING, 9, 8, 1, 0));
	EXPECT(!good(V4L2_CTRL_TYPE_STRING, -1, 8, 1, 0));
}

static void what_has_no_range_is_taken_and_unknown_types_are_not(void)
{
	EXPECT(good(V4L2_CTRL_TYPE_BUTTON, 5, 3, 0, 9));
	EXPECT(good(V4L2_CTRL_TYPE_CTRL_CLASS, 0, 0, 0, 0));
	EXPECT(!good(V4L2_CTRL_TYPE_U8, 0, 9, 1, 0));
	EXPECT(!good(0, 0, 9, 1, 0));
}

static void values_lie_in_their_range(void)
{
	static const char * const names[] = { "off", "", "on" };
	const struct v4l2_ctrl number = {
		.type = V4L2_CTRL_TYPE_INTEGER, .minimum = -3, .maximum = 9,
	};
	const struct v4l2_ctrl mask = {
		.type = V4L2_CTRL_TYPE_BITMASK, .maximum = 0x80000001,
	};
	const struct v4l2_ctrl menu = {
		.type = V4L2_CTRL_TYPE_MENU, .maximum = 2, .qmenu = names,
	};
	const struct v4l2_ctrl values = {
		.type = V4L2_CTRL_TYPE_INTEGER_MENU, .minimum = 1, .maximum = 63,
		.menu_skip_mask = 1ULL << 62,
	};
	const struct v4l2_ctrl button = { .type = V4L2_CTRL_TYPE_BUTTON };

	EXPECT(pinhole_value_good(&number, -3));
	EXPECT(pinhole_value_good(&number, 9));
	EXPECT(!pinhole_value_good(&number, -4));
	EXPECT(!pinhole_value_good(&number, 10));
	EXPECT(pinhole_value_good(&mask, (s32)0x80000001));
	EXPECT(!pinhole_value_good(&mask, 2));
	EXPECT(pinhole_value_good(&menu, 2));
	EXPECT(!pinhole_value_good(&menu, 1));
	EXPECT(!pinhole_value_good(&menu, 3));
	EXPECT(!pinhole_value_good(&menu, -1));
	EXPECT(pinhole_value_good(&values, 63));
	EXPECT(!pinhole_value_good(&values, 62));
	EXPECT(!pinhole_value_good(&values, 64));
	EXPECT(!pinhole_value_good(&values, 0));
	EXPECT(pinhole_value_good(&button, 77));
}

void range_units(void)
{
	the_default_lies_in_the_range();
	numbers_have_a_step_and_fit_their_type();
	switches_and_menus_have_so_many_states();
	texts_are_no_longer_than_their_room();
	what_has_no_range_is_taken_and_unknown_types_are_not();
	values_lie_in_their_range();
}
