// SPDX-License-Identifier: GPL-2.0
/*
 * Commands: the memory that the card reads and writes.
 *
 * A command owns its request, its scatter entries and its response; while it
 * is submitted the card may read and write them, and they are not freed. An
 * owner that cannot wait any longer leaves it behind as an orphan, which is
 * freed by the next that needs a command once the card has answered, or when
 * the card has been reset.
 */
#include <linux/dma-mapping.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "command.h"
#include "pinhole.h"

/**
 * pinhole_cmd_free() - free a command
 * @dev: device
 * @cmd: command, idle; NULL is allowed
 *
 * Context: Process context.
 * Return: Nothing.
 */
void pinhole_cmd_free(struct pinhole_device *dev, struct pinhole_cmd *cmd)
{
	if (!cmd)
		return;
	if (cmd->data_mapped)
		dma_unmap_single(dev->dma_dev, cmd->data_addr, cmd->data_len,
				 DMA_BIDIRECTIONAL);
	kfree(cmd->data);
	sg_free_table(&cmd->entries_sgt);
	kvfree(cmd->entries);
	kfree(cmd->resp);
	kfree(cmd->req);
	kfree(cmd);
}

/**
 * pinhole_cmd_alloc_entries() - allocate and describe a command's entries
 * @dev: device
 * @cmd: command
 * @num_entries: number of entries, not 0
 *
 * Large arrays may be contiguous in virtual memory only, and a bounce buffer
 * holds so much of one in a piece. Each piece takes a descriptor, and together
 * they must fit the queue.
 *
 * Context: Process context.
 * Return: 0, -ENOMEM, or -E2BIG if the queue is too short for them.
 */
static int pinhole_cmd_alloc_entries(struct pinhole_device *dev,
				     struct pinhole_cmd *cmd,
				     unsigned int num_entries)
{
	size_t left = array_size(num_entries, sizeof(*cmd->entries));
	size_t max = min_t(size_t, virtio_max_dma_size(dev->vdev), U32_MAX);
	unsigned int i, pieces;
	struct scatterlist *sg;
	bool scattered;
	char *at;
	int ret;

	cmd->entries = kvcalloc(num_entries, sizeof(*cmd->entries), GFP_KERNEL);
	if (!cmd->entries)
		return -ENOMEM;
	cmd->num_entries = num_entries;

	scattered = is_vmalloc_addr(cmd->entries);
	if (scattered)
		max = PAGE_SIZE;
	pieces = DIV_ROUND_UP(left, max);
	if (pieces + 2 > dev->command_slots)
		return -E2BIG;

	ret = sg_alloc_table(&cmd->entries_sgt, pieces, GFP_KERNEL);
	if (ret)
		return ret;

	at = (char *)cmd->entries;
	for_each_sgtable_sg(&cmd->entries_sgt, sg, i) {
		unsigned int len = min(left, max);

		if (scattered)
			sg_set_page(sg, vmalloc_to_page(at), len, 0);
		else
			sg_set_buf(sg, at, len);
		at += len;
		left -= len;
	}
	return 0;
}

/**
 * pinhole_cmds_reap() - free the orphans that were answered
 * @dev: device
 *
 * Context: Process context. Takes the device's lock.
 */
static void pinhole_cmds_reap(struct pinhole_device *dev)
{
	struct pinhole_cmd *cmd, *tmp;
	unsigned long flags;
	LIST_HEAD(orphans);

	spin_lock_irqsave(&dev->lock, flags);
	list_splice_init(&dev->orphans, &orphans);
	spin_unlock_irqrestore(&dev->lock, flags);

	list_for_each_entry_safe(cmd, tmp, &orphans, node)
		pinhole_cmd_free(dev, cmd);
}

/**
 * pinhole_cmd_alloc() - allocate a command
 * @dev: device
 * @req_len: length of the request, header included
 * @resp_len: length of the response, header included; 0 for none
 * @num_entries: number of scatter entries; 0 for none
 *
 * Context: Process context.
 * Return: The command, zeroed and idle, or an ERR_PTR.
 */
struct pinhole_cmd *pinhole_cmd_alloc(struct pinhole_device *dev, size_t req_len,
				      size_t resp_len, unsigned int num_entries)
{
	struct pinhole_cmd *cmd;
	int ret = -ENOMEM;

	pinhole_cmds_reap(dev);
	cmd = kzalloc(sizeof(*cmd), GFP_KERNEL);
	if (!cmd)
		return ERR_PTR(ret);

	INIT_LIST_HEAD(&cmd->node);
	init_completion(&cmd->done);
	cmd->req_len = req_len;
	cmd->resp_len = resp_len;

	cmd->req = kzalloc(req_len, GFP_KERNEL);
	if (!cmd->req)
		goto err_free;
	sg_init_one(&cmd->req_sg, cmd->req, req_len);

	if (resp_len) {
		cmd->resp = kzalloc(resp_len, GFP_KERNEL);
		if (!cmd->resp)
			goto err_free;
		sg_init_one(&cmd->resp_sg, cmd->resp, resp_len);
	}

	if (num_entries) {
		ret = pinhole_cmd_alloc_entries(dev, cmd, num_entries);
		if (ret)
			goto err_free;
	}
	return cmd;

err_free:
	pinhole_cmd_free(dev, cmd);
	return ERR_PTR(ret);
}

/**
 * pinhole_cmd_attach() - attach data that the card reads and writes
 * @dev: device
 * @cmd: command, idle, with one scatter entry
 * @data: data, which is copied
 * @length: their length in bytes, not 0
 *
 * The command owns the copy, so that a card that answers too late writes to
 * nobody else's memory.
 *
 * Context: Process context.
 * Return: 0 or -ENOMEM.
 */
int pinhole_cmd_attach(struct pinhole_device *dev, struct pinhole_cmd *cmd,
		       const void *data, size_t length)
{
	u64 start;

	cmd->data = kmemdup(data, length, GFP_KERNEL);
	if (!cmd->data)
		return -ENOMEM;
	cmd->data_len = length;
	start = virt_to_phys(cmd->data);
	if (dev->use_dma) {
		cmd->data_addr = dma_map_single(dev->dma_dev, cmd->data, length,
						DMA_BIDIRECTIONAL);
		if (dma_mapping_error(dev->dma_dev, cmd->data_addr))
			return -ENOMEM;
		cmd->data_mapped = true;
		start = cmd->data_addr;
	}
	cmd->entries[0].start = cpu_to_le64(start);
	cmd->entries[0].len = cpu_to_le32(length);
	return 0;
}

/**
 * pinhole_cmd_fetch() - read what the card has made of attached data
 * @dev: device
 * @cmd: command, answered
 * @data: where they go
 * @length: their length in bytes, as attached
 *
 * Context: Process context.
 * Return: Nothing.
 */
void pinhole_cmd_fetch(struct pinhole_device *dev, struct pinhole_cmd *cmd,
		       void *data, size_t length)
{
	if (cmd->data_mapped)
		dma_sync_single_for_cpu(dev->dma_dev, cmd->data_addr, length,
					DMA_BIDIRECTIONAL);
	memcpy(data, cmd->data, length);
}

/**
 * pinhole_cmd_release() - the owner of a command has no more use for it
 * @dev: device
 * @cmd: command; NULL is allowed
 *
 * Context: Process context. Takes the device's lock.
 * Return: Nothing.
 */
void pinhole_cmd_release(struct pinhole_device *dev, struct pinhole_cmd *cmd)
{
	unsigned long flags;
	bool idle;

	if (!cmd)
		return;

	spin_lock_irqsave(&dev->lock, flags);
	idle = cmd->state == PINHOLE_CMD_IDLE;
	if (!idle) {
		cmd->orphan = true;
		cmd->buf = NULL;
	}
	spin_unlock_irqrestore(&dev->lock, flags);

	if (idle)
		pinhole_cmd_free(dev, cmd);
}
