// SPDX-License-Identifier: GPL-2.0
/*
 * Commands: the memory that the device reads and writes.
 *
 * A command owns its request, its scatter entries and its response, which the
 * device may read and write as long as the command is in the virtqueue. An owner
 * that cannot wait for the response drops its reference, and the command is freed
 * when the virtqueue gives it back.
 */
#include <linux/dma-mapping.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "pinhole.h"

/* Writes the header of an ioctl command. */
void pinhole_fill_ioctl(void *req, u32 session_id, unsigned int cmd)
{
	struct virtio_media_cmd_ioctl *hdr = req;

	hdr->hdr.cmd = cpu_to_le32(VIRTIO_MEDIA_CMD_IOCTL);
	hdr->session_id = cpu_to_le32(session_id);
	hdr->code = cpu_to_le32(_IOC_NR(cmd));
}

static void pinhole_cmd_free(struct kref *ref)
{
	struct pinhole_cmd *cmd = container_of(ref, struct pinhole_cmd, ref);

	if (cmd->data_mapped)
		dma_unmap_single(cmd->dev->dma.dev, cmd->data_addr,
				 cmd->data_len, DMA_BIDIRECTIONAL);
	kfree(cmd->data);
	sg_free_table(&cmd->entries_sgt);
	kvfree(cmd->entries);
	kfree(cmd->resp);
	kfree(cmd->req);
	kfree(cmd);
}

/* Frees a command under a spinlock, where vfree() is not allowed. */
void pinhole_cmd_free_later(struct kref *ref)
{
	struct pinhole_cmd *cmd = container_of(ref, struct pinhole_cmd, ref);
	struct pinhole_commands *commands = &cmd->dev->commands;

	if (llist_add(&cmd->dead, &commands->dead))
		schedule_work(&commands->reaper);
}

/* Work item: frees what pinhole_cmd_free_later() has put by. */
void pinhole_commands_reap(struct work_struct *work)
{
	struct pinhole_commands *commands =
		container_of(work, struct pinhole_commands, reaper);
	struct llist_node *dead = llist_del_all(&commands->dead);
	struct pinhole_cmd *cmd, *tmp;

	llist_for_each_entry_safe(cmd, tmp, dead, dead)
		pinhole_cmd_free(&cmd->ref);
}

/*
 * Large arrays may be contiguous in virtual memory only, and a bounce buffer
 * holds so much of one in a piece. Each piece takes a descriptor, and together
 * they must fit the queue: -E2BIG if they do not.
 */
static int pinhole_cmd_alloc_entries(struct pinhole_cmd *cmd,
				     unsigned int num_entries)
{
	size_t left = array_size(num_entries, sizeof(*cmd->entries));
	size_t max = min_t(size_t, virtio_max_dma_size(cmd->dev->vdev), U32_MAX);
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
	if (pieces + 2 > cmd->dev->commands.slots)
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

/* Memory that the device reads or writes shares no cache line with other such. */
static void *pinhole_cmd_room(size_t len)
{
	return kzalloc(ALIGN(len, L1_CACHE_BYTES), GFP_KERNEL);
}

/**
 * pinhole_cmd_alloc() - allocate a command
 * @dev: device
 * @req_len: length of the request, header included
 * @resp_len: length of the response, header included; 0 for none
 * @num_entries: number of scatter entries; 0 for none
 *
 * Return: The command, zeroed, with a reference for pinhole_cmd_release(); or an
 * ERR_PTR.
 */
struct pinhole_cmd *pinhole_cmd_alloc(struct pinhole_device *dev, size_t req_len,
				      size_t resp_len, unsigned int num_entries)
{
	struct pinhole_cmd *cmd;
	int ret = -ENOMEM;

	cmd = kzalloc(sizeof(*cmd), GFP_KERNEL);
	if (!cmd)
		return ERR_PTR(ret);

	kref_init(&cmd->ref);
	cmd->dev = dev;
	INIT_LIST_HEAD(&cmd->node);
	init_completion(&cmd->done);
	cmd->req_len = req_len;
	cmd->resp_len = resp_len;

	cmd->req = pinhole_cmd_room(req_len);
	if (!cmd->req)
		goto err_free;
	sg_init_one(&cmd->req_sg, cmd->req, req_len);

	if (resp_len) {
		cmd->resp = pinhole_cmd_room(resp_len);
		if (!cmd->resp)
			goto err_free;
		sg_init_one(&cmd->resp_sg, cmd->resp, resp_len);
	}

	if (num_entries) {
		ret = pinhole_cmd_alloc_entries(cmd, num_entries);
		if (ret)
			goto err_free;
	}
	return cmd;

err_free:
	pinhole_cmd_free(&cmd->ref);
	return ERR_PTR(ret);
}

/**
 * pinhole_cmd_attach() - attach data that the device reads and writes
 * @cmd: command with a scatter entry for each piece
 * @pieces: data, which are copied
 *
 * The command owns the copy, so that a device that responds too late writes to
 * nobody else's memory.
 *
 * Return: 0 or -ENOMEM.
 */
int pinhole_cmd_attach(struct pinhole_cmd *cmd,
		       const struct pinhole_piece *pieces)
{
	const struct pinhole_dma *dma = &cmd->dev->dma;
	size_t length = 0, at = 0;
	unsigned int i;
	u64 start;

	for (i = 0; i < cmd->num_entries; i++)
		length += pieces[i].length;
	cmd->data = kmalloc(length, GFP_KERNEL);
	if (!cmd->data)
		return -ENOMEM;
	for (i = 0; i < cmd->num_entries; i++) {
		memcpy(cmd->data + at, pieces[i].data, pieces[i].length);
		at += pieces[i].length;
	}

	cmd->data_len = length;
	start = virt_to_phys(cmd->data);
	if (dma->use) {
		cmd->data_addr = dma_map_single(dma->dev, cmd->data, length,
						DMA_BIDIRECTIONAL);
		if (dma_mapping_error(dma->dev, cmd->data_addr))
			return -ENOMEM;
		cmd->data_mapped = true;
		start = cmd->data_addr;
	}
	for (i = 0; i < cmd->num_entries; i++) {
		cmd->entries[i].start = cpu_to_le64(start);
		cmd->entries[i].len = cpu_to_le32(pieces[i].length);
		start += pieces[i].length;
	}
	return 0;
}

/* Reads what the device has made of attached data; @pieces are as attached. */
void pinhole_cmd_fetch(struct pinhole_cmd *cmd,
		       const struct pinhole_piece *pieces)
{
	size_t at = 0;
	unsigned int i;

	if (cmd->data_mapped)
		dma_sync_single_for_cpu(cmd->dev->dma.dev, cmd->data_addr,
					cmd->data_len, DMA_BIDIRECTIONAL);
	for (i = 0; i < cmd->num_entries; i++) {
		memcpy(pieces[i].data, cmd->data + at, pieces[i].length);
		at += pieces[i].length;
	}
}

/* Drops the owner's reference; @cmd->complete is called all the same. */
void pinhole_cmd_put(struct pinhole_cmd *cmd)
{
	kref_put(&cmd->ref, pinhole_cmd_free);
}

/* Drops the owner's reference, after which @cmd->complete is not called. */
void pinhole_cmd_release(struct pinhole_cmd *cmd)
{
	struct pinhole_ring *ring;
	unsigned long flags;

	if (!cmd)
		return;
	ring = &cmd->dev->commands.ring;
	spin_lock_irqsave(&ring->lock, flags);
	cmd->complete = NULL;
	spin_unlock_irqrestore(&ring->lock, flags);
	kref_put(&cmd->ref, pinhole_cmd_free);
}
