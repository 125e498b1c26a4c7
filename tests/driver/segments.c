// SPDX-License-Identifier: GPL-2.0
#include <linux/types.h>
#include <string.h>

#include "segments.h"
#include "units.h"

#define PAGE 4096

static struct virtio_media_sg_entry entries[4];

static struct pinhole_segments list(size_t length, unsigned int max)
{
	memset(entries, 0xff, sizeof(entries));
	return (struct pinhole_segments){
		.entries = entries, .max = max, .left = length,
	};
}

static bool is(unsigned int i, u64 start, u32 len)
{
	return entries[i].start == start && entries[i].len == len;
}

static void neighbours_are_one_segment(void)
{
	struct pinhole_segments segs = list(4 * PAGE, 4);

	pinhole_segments_add(&segs, 0x10000, PAGE);
	pinhole_segments_add(&segs, 0x11000, PAGE);
	pinhole_segments_add(&segs, 0x20000, PAGE);
	/* Before its neighbour, not after it. */
	pinhole_segments_add(&segs, 0x1f000, PAGE);
	EXPECT(segs.count == 3 && !segs.left);
	EXPECT(is(0, 0x10000, 2 * PAGE));
	EXPECT(is(1, 0x20000, PAGE));
	EXPECT(is(2, 0x1f000, PAGE));
}

static void no_segment_goes_beyond_the_buffer(void)
{
	struct pinhole_segments segs = list(PAGE + 10, 4);

	pinhole_segments_add(&segs, 0x10000, PAGE);
	pinhole_segments_add(&segs, 0x30000, PAGE);
	pinhole_segments_add(&segs, 0x50000, PAGE);
	EXPECT(segs.count == 2 && !segs.left);
	EXPECT(is(1, 0x30000, 10));
}

static void no_segment_is_longer_than_a_gibibyte(void)
{
	struct pinhole_segments segs = list(3ULL << 30, 4);

	pinhole_segments_add(&segs, 1ULL << 32, 1 << 30);
	pinhole_segments_add(&segs, (1ULL << 32) + (1 << 30), PAGE);
	EXPECT(segs.count == 2);
	EXPECT(is(0, 1ULL << 32, 1 << 30));
	EXPECT(is(1, (1ULL << 32) + (1 << 30), PAGE));
}

/* The caller sees by the count that the list is too short. */
static void nothing_is_written_beyond_the_list(void)
{
	struct pinhole_segments segs = list(4 * PAGE, 2);
	unsigned int i;

	for (i = 0; i < 4; i++)
		pinhole_segments_add(&segs, 0x100000 * (i + 1), PAGE);
	EXPECT(segs.count == 4 && !segs.left);
	EXPECT(is(1, 0x200000, PAGE));
	EXPECT(is(2, ~0ULL, ~0U));

	segs = list(2 * PAGE, 0);
	segs.entries = NULL;
	pinhole_segments_add(&segs, 0x10000, PAGE);
	pinhole_segments_add(&segs, 0x30000, PAGE);
	EXPECT(segs.count == 2);
}

void segments_units(void)
{
	neighbours_are_one_segment();
	no_segment_goes_beyond_the_buffer();
	no_segment_is_longer_than_a_gibibyte();
	nothing_is_written_beyond_the_list();
}
