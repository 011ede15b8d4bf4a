/* What DPDK's own hierarchical scheduler, rte_sched, costs a packet: the yardstick for `skiff bench htb`.
 *
 *   rte_sched PIPES [MILLIONS OF PACKETS] [-- EAL ARGS]
 *
 * One port, one subport, PIPES pipes (a power of two), 60-byte packets for pipes at random, in bursts of 32: each is
 * enqueued, then up to 32 are dequeued, and what came out goes in again. Rates are so high that nothing waits for
 * tokens. Prints cycles of CPU time a packet, enqueue and dequeue together. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_sched.h>

#define BURST 32
#define PACKETS 16384
#define RATE 12500000000ULL

static uint64_t
cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static uint32_t
any(void)
{
	static uint64_t x = 88172645463325252ULL;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x >> 32;
}

int
main(int argc, char **argv)
{
	uint32_t pipes = argc > 1 ? strtoul(argv[1], NULL, 0) : 64;
	uint64_t wanted = (argc > 2 && argv[2][0] != '-' ? strtoul(argv[2], NULL, 0) : 20) * 1000000;
	int first = 1;

	while (first < argc && strcmp(argv[first], "--") != 0)
		first++;
	if (first == argc)
		first--;
	argv[first] = argv[0];
	if (rte_eal_init(argc - first, argv + first) < 0)
		rte_exit(1, "EAL\n");

	struct rte_sched_subport_profile_params subport_profile = {
		.tb_rate = RATE, .tb_size = 100000000, .tc_period = 10 };
	struct rte_sched_pipe_params pipe_profile = {
		.tb_rate = RATE, .tb_size = 100000000, .tc_period = 40, .tc_ov_weight = 1, .wrr_weights = {1, 1, 1, 1} };
	for (int i = 0; i < RTE_SCHED_TRAFFIC_CLASSES_PER_PIPE; i++)
		subport_profile.tc_rate[i] = pipe_profile.tc_rate[i] = RATE;
	struct rte_sched_port_params port_params = {
		.name = "port", .socket = 0, .rate = RATE, .mtu = 1522, .frame_overhead = 24,
		.n_subports_per_port = 1, .subport_profiles = &subport_profile, .n_subport_profiles = 1,
		.n_max_subport_profiles = 1, .n_pipes_per_subport = pipes };
	struct rte_sched_subport_params subport = {
		.n_pipes_per_subport_enabled = pipes, .pipe_profiles = &pipe_profile, .n_pipe_profiles = 1,
		.n_max_pipe_profiles = 1 };
	for (int i = 0; i < RTE_SCHED_TRAFFIC_CLASSES_PER_PIPE; i++)
		subport.qsize[i] = 64;
	struct rte_sched_port *port = rte_sched_port_config(&port_params);
	if (port == NULL || rte_sched_subport_config(port, 0, &subport, 0) != 0)
		rte_exit(1, "port\n");
	for (uint32_t p = 0; p < pipes; p++)
		if (rte_sched_pipe_config(port, 0, p, 0) != 0)
			rte_exit(1, "pipe %u\n", p);

	struct rte_mempool *pool = rte_pktmbuf_pool_create("p", PACKETS * 2 - 1, 256, 0, 2176, rte_socket_id());
	static struct rte_mbuf *idle[PACKETS];
	if (pool == NULL || rte_pktmbuf_alloc_bulk(pool, idle, PACKETS) != 0)
		rte_exit(1, "pool\n");
	for (int i = 0; i < PACKETS; i++)
		idle[i]->pkt_len = idle[i]->data_len = 60;

	/* Taken in turn from a ring, so that they are as cold as packets from a driver's ring. */
	uint64_t head = 0, tail = PACKETS, out = 0, started = 0, cycles = 0, lost = 0;
	uint64_t hz = rte_get_tsc_hz();
	for (uint64_t in = 0; out < wanted + 1000000;) {
		struct rte_mbuf *burst[BURST];
		uint32_t n = RTE_MIN((uint64_t)BURST, tail - head);

		if (started == 0 && out >= 1000000) {
			started = cpu_ns();
			out = 1000000;
		}
		for (uint32_t i = 0; i < n; i++) {
			burst[i] = idle[(head + i) % PACKETS];
			rte_sched_port_pkt_write(port, burst[i], 0, any() % pipes, RTE_SCHED_TRAFFIC_CLASS_BE, 0,
						 RTE_COLOR_GREEN);
		}
		head += n;
		in += n;
		lost += n - rte_sched_port_enqueue(port, burst, n);
		n = rte_sched_port_dequeue(port, burst, BURST);
		for (uint32_t i = 0; i < n; i++)
			idle[(tail + i) % PACKETS] = burst[i];
		tail += n;
		out += n;
	}
	cycles = (cpu_ns() - started) * (hz / 1e9);
	printf("rte_sched %u pipes: %.1f cycles/packet, enqueue and dequeue; %lu lost\n", pipes,
	       (double)cycles / (out - 1000000), lost);
	return 0;
}
