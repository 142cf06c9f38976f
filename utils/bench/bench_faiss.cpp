// faiss IndexHNSWFlat: M 16, efConstruction 200. Debian compiles libfaiss for SSE2, so this is a baseline and no more.
#include "bench/peer.h"

#include <faiss/IndexHNSW.h>
#include <omp.h>

int main(int argc, char **argv)
{
    peer::Arguments a = peer::read_arguments(argc, argv);
    size_t before = peer::resident();
    faiss::IndexHNSWFlat index(int(a.base.cols), 16, a.ip ? faiss::METRIC_INNER_PRODUCT : faiss::METRIC_L2);

    index.hnsw.efConstruction = 200;
    omp_set_num_threads(a.threads);
    double begin = peer::now();
    index.add(faiss::Index::idx_t(a.base.rows), a.base.data.data());
    double seconds = peer::now() - begin;

    omp_set_num_threads(1);
    peer::sweep("faiss", a, seconds, peer::resident() - before, [&](int ef) { index.hnsw.efSearch = ef; },
                [&](const float *query, int64_t *ids) {
                    float distances[peer::K];

                    index.search(1, query, peer::K, distances, ids);
                    return peer::K;
                });
}
