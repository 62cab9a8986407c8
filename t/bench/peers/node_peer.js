/*
 * BullMQ and Bee-Queue: node_peer.js bullmq|bee-queue PORT N M.  N jobs are
 * queued before the worker starts; then M are sent one at a time.  Prints
 * {"rate", "p50"} as JSON.
 *
 * As their guides say: many jobs at a time in a process, jobs that are added in
 * bulk, and removed when they have succeeded; their results are told by events.
 * Bee-Queue does not keep Job objects (storeJobs) in the worker.
 */

'use strict';

const { performance } = require('node:perf_hooks');

const [name, port, count, singles] = process.argv.slice(2);
const host = '127.0.0.1';
const n = Number(count);
const m = Number(singles);
const data = { arg1: 'x'.repeat(Number(process.env.PEER_PAD || 280)) };
const CONCURRENCY = Number(process.env.CONCURRENCY || 64);
const BULK = 1000;

const echo = async (job) => ({ result: `${job.data.arg1}_result` });


function bullmq() {
    const { Queue, QueueEvents, Worker } = require('bullmq');
    const connection = { host, port: Number(port),
                         maxRetriesPerRequest: null };
    const queue = new Queue('echo', { connection });
    const opts = { removeOnComplete: true };
    const kept = { removeOnComplete: 1000 };    /* or it may be gone too soon */
    let worker, events;

    return {
        fill: (size) => queue.addBulk(Array.from({ length: size },
            () => ({ name: 'echo', data, opts }))),

        work: (ended) => {
            worker = new Worker('echo', echo,
                { connection, concurrency: CONCURRENCY });
            worker.on('completed', ended);
        },

        listen: () => {
            events = new QueueEvents('echo', { connection });
            return events.waitUntilReady();
        },

        one: async () => {
            const job = await queue.add('echo', data, kept);
            return job.waitUntilFinished(events);
        },
    };
}


function beeQueue() {
    const Queue = require('bee-queue');
    const redis = { host, port: Number(port) };
    const sender = new Queue('echo', { redis, isWorker: false });
    let worker;

    return {
        fill: async (size) => {
            const errors = await sender.saveAll(Array.from({ length: size },
                () => sender.createJob(data)));
            if (errors.size) {
                throw new Error('jobs were not saved');
            }
        },

        work: (ended) => {
            worker = new Queue('echo', { redis, storeJobs: false,
                getEvents: false, removeOnSuccess: true });
            worker.on('succeeded', ended);
            worker.process(CONCURRENCY, echo);
        },

        listen: () => sender.ready(),

        one: () => new Promise((resolve, reject) => {
            const job = sender.createJob(data);
            job.on('succeeded', resolve);
            job.on('failed', reject);
            job.save().catch(reject);
        }),
    };
}


async function main() {
    const peer = { bullmq, 'bee-queue': beeQueue }[name]();

    for (let i = 0; i < n; i += BULK) {
        await peer.fill(Math.min(BULK, n - i));
    }

    /* from the first result on */

    let began, done = 0;

    await new Promise((resolve) => {
        peer.work(() => {
            began = began || performance.now();
            done++;
            if (done === n) {
                resolve();
            }
        });
    });

    const rate = (n - 1) / (performance.now() - began) * 1000;
    const took = [];

    await peer.listen();

    for (let i = 0; i < m; i++) {
        const start = performance.now();
        await peer.one();
        took.push(1000 * (performance.now() - start));
    }

    took.sort((a, b) => a - b);
    console.log(JSON.stringify({ n, rate, p50: took[Math.floor(m / 2)] }));
    process.exit(0);
}


main().catch((error) => {
    console.error(error);
    process.exit(1);
});
