#define _GNU_SOURCE
#include <stdio.h>

#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_ring.h>

#include "shim.h"

static skiff_log_fn log_sink;

static ssize_t
log_write(void *cookie, const char *text, size_t len)
{
	int level = rte_log_cur_msg_loglevel();

	(void)cookie;
	/* -1: written by a thread that is not in rte_log(). */
	log_sink(level < 0 ? RTE_LOG_INFO : (uint32_t)level, text, len);
	return (ssize_t)len;
}

int
skiff_log_open(skiff_log_fn sink)
{
	static const cookie_io_functions_t functions = { .write = log_write };
	FILE *stream = fopencookie(NULL, "w", functions);

	if (stream == NULL)
		return -1;
	log_sink = sink;
	/* rte_vlog() flushes after each message, so a chunk is a whole message unless it is very long. */
	setvbuf(stream, NULL, _IOFBF, 4096);
	return rte_openlog_stream(stream);
}

int
skiff_errno(void)
{
	return rte_errno;
}

uint32_t
skiff_lcore_id(void)
{
	return rte_lcore_id();
}

uint16_t
skiff_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **pkts, uint16_t n)
{
	return rte_eth_rx_burst(port, queue, pkts, n);
}

uint16_t
skiff_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **pkts, uint16_t n)
{
	return rte_eth_tx_burst(port, queue, pkts, n);
}

int
skiff_tx_descriptor_waits(uint16_t port, uint16_t queue, uint16_t offset)
{
	int status = rte_eth_tx_descriptor_status(port, queue, offset);

	return status < 0 ? status : status == RTE_ETH_TX_DESC_FULL;
}

int
skiff_rx_queue_count(uint16_t port, uint16_t queue)
{
	return rte_eth_rx_queue_count(port, queue);
}

uint32_t
skiff_ring_enqueue_burst(struct rte_ring *ring, struct rte_mbuf **pkts, uint32_t n)
{
	return rte_ring_enqueue_burst(ring, (void **)pkts, n, NULL);
}

uint32_t
skiff_ring_dequeue_burst(struct rte_ring *ring, struct rte_mbuf **pkts, uint32_t n)
{
	return rte_ring_dequeue_burst(ring, (void **)pkts, n, NULL);
}

uint32_t
skiff_ring_count(const struct rte_ring *ring)
{
	return rte_ring_count(ring);
}

uint32_t
skiff_ring_free_count(const struct rte_ring *ring)
{
	return rte_ring_free_count(ring);
}

int
skiff_mempool_get_bulk(struct rte_mempool *pool, struct rte_mbuf **pkts, uint32_t n)
{
	return rte_mempool_get_bulk(pool, (void **)pkts, n);
}

void
skiff_mempool_put_bulk(struct rte_mempool *pool, struct rte_mbuf **pkts, uint32_t n)
{
	rte_mempool_put_bulk(pool, (void *const *)pkts, n);
}

void
skiff_pktmbuf_free(struct rte_mbuf *pkt)
{
	rte_pktmbuf_free(pkt);
}

int
skiff_link_get(uint16_t port, uint32_t *speed_mbps, int *up, int *full_duplex)
{
	struct rte_eth_link link;
	int ret;

	memset(&link, 0, sizeof(link));
	ret = rte_eth_link_get_nowait(port, &link);
	if (ret != 0)
		return ret;
	*speed_mbps = link.link_speed == RTE_ETH_SPEED_NUM_NONE ? UINT32_MAX : link.link_speed;
	*up = link.link_status == RTE_ETH_LINK_UP;
	*full_duplex = link.link_duplex == RTE_ETH_LINK_FULL_DUPLEX;
	return 0;
}
