// SPDX-License-Identifier: GPL-2.0
/*
 * Memory without a free block of any size, on purpose: what then still gets
 * memory needs none in one piece.
 */
#include <linux/cpu.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/workqueue.h>

#include "hoard.h"

/* The least order that is taken: blocks of 64 KiB. */
#define HOARD_ORDER 4

/* The largest order that the page allocator has is no larger than this. */
#define HOARD_ORDER_MAX 10

/* Most single pages that are left free: 256 MiB. */
#define HOARD_SINGLES_MAX (64U << 10)

/* Nothing is to be reclaimed or moved for a hoard: that would go on and on. */
#define HOARD_GFP ((GFP_KERNEL & ~__GFP_RECLAIM) | __GFP_NOWARN)

/**
 * hoard_init() - make an empty hoard
 * @hoard: where
 *
 * Context: Any.
 */
void hoard_init(struct hoard *hoard)
{
	INIT_LIST_HEAD(&hoard->blocks);
}

/**
 * hoard_list_add() - take a block
 * @list: list to put it on
 * @gfp: how to allocate it
 * @order: its order
 *
 * Context: Process context.
 * Return: Whether there was one.
 */
static bool hoard_list_add(struct list_head *list, gfp_t gfp,
			   unsigned int order)
{
	struct page *page = alloc_pages(gfp, order);

	if (!page)
		return false;
	set_page_private(page, order);
	list_add(&page->lru, list);
	return true;
}

/**
 * hoard_page_free() - give a block back
 * @page: its first page, on a list
 *
 * Context: Process context.
 */
static void hoard_page_free(struct page *page)
{
	unsigned int order = page_private(page);

	list_del(&page->lru);
	set_page_private(page, 0);
	__free_pages(page, order);
}

/**
 * hoard_blocks() - take all free blocks that are to be had
 * @data: the struct hoard they go to
 *
 * Context: Process context.
 * Return: Number of blocks, or -EINTR.
 */
static long hoard_blocks(void *data)
{
	struct hoard *hoard = data;
	static const gfp_t zones[] = { 0, __GFP_DMA32, __GFP_DMA };
	/* A processor keeps movable blocks apart from the others. */
	static const gfp_t mobilities[] = { 0, __GFP_MOVABLE };
	unsigned int i;
	long count = 0;
	gfp_t gfp;
	int order;

	for (order = HOARD_ORDER_MAX; order >= HOARD_ORDER; order--)
		for (i = 0; i < ARRAY_SIZE(zones) * ARRAY_SIZE(mobilities); i++) {
			gfp = HOARD_GFP | zones[i / ARRAY_SIZE(mobilities)] |
			      mobilities[i % ARRAY_SIZE(mobilities)];
			while (hoard_list_add(&hoard->blocks, gfp, order)) {
				count++;
				if (fatal_signal_pending(current))
					return -EINTR;
				cond_resched();
			}
		}
	return count;
}

/**
 * hoard_take() - leave no free block of memory but single pages
 * @hoard: where they go
 * @singles: how many pages are left free, each beside one that is not
 *
 * The single pages are taken before the blocks and freed after them, so that
 * there is memory again for everybody who needs no more than a page at a time.
 * Every processor keeps some free blocks to itself, of the order of a huge page
 * among them, and gives them back when it likes: so each is made to take its own.
 *
 * Context: Process context.
 * Return: Number of blocks taken, or a negative errno. What was taken before
 * an error stays until hoard_free().
 */
int hoard_take(struct hoard *hoard, unsigned int singles)
{
	struct page *page, *next;
	unsigned int i, cpu;
	LIST_HEAD(left);
	long ret = 0, more;

	if (!singles || singles > HOARD_SINGLES_MAX)
		return -EINVAL;
	for (i = 0; i < singles && !ret; i++) {
		/* Neighbours, more often than not. */
		if (!hoard_list_add(&left, HOARD_GFP, 0) ||
		    !hoard_list_add(&hoard->blocks, HOARD_GFP, 0))
			ret = -ENOMEM;
	}
	if (!ret)
		ret = hoard_blocks(hoard);
	list_for_each_entry_safe(page, next, &left, lru)
		hoard_page_free(page);
	if (ret < 0)
		return ret;
	/* What the allocator had kept back for want of free pages. */
	cpus_read_lock();
	for_each_online_cpu(cpu) {
		more = work_on_cpu(cpu, hoard_blocks, hoard);
		if (more < 0)
			ret = more;
		if (ret < 0)
			break;
		ret += more;
	}
	cpus_read_unlock();
	return ret;
}

/**
 * hoard_free() - give everything back
 * @hoard: the hoard, which is empty after it
 *
 * Context: Process context.
 */
void hoard_free(struct hoard *hoard)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, &hoard->blocks, lru)
		hoard_page_free(page);
}
