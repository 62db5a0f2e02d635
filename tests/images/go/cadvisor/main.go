// Copyright (c) 2026 hpcops.cluster contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// cAdvisor, with those of its options that the role cgroup_exporter gives it. Upstream's own command stands in a Go module that has no
// versions and so cannot be fetched by one; all that it measures and tells is in the library, which is upstream's release.
package main

import (
	"flag"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/cadvisor/lib/cache/memory"
	"github.com/google/cadvisor/lib/container"
	"github.com/google/cadvisor/lib/manager"
	"github.com/google/cadvisor/lib/metrics"
	info "github.com/google/cadvisor/lib/model"
	"github.com/google/cadvisor/lib/utils/sysfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

func main() {
	address := flag.String("listen_ip", "", "IP to listen on, defaults to all IPs")
	port := flag.Int("port", 8080, "port to listen")
	prefixes := flag.String("raw_cgroup_prefix_whitelist", "", "cgroups that are told though docker_only is set")
	storeLabels := flag.Bool("store_container_labels", true, "tell labels and environment of containers")
	disabled := container.MetricSet{}
	flag.Var(&disabled, "disable_metrics", "metrics that are not told")
	klog.InitFlags(nil)
	flag.Parse()

	included := container.AllMetrics.Difference(disabled)
	watched, err := manager.New(memory.New(2*time.Minute, nil), sysfs.NewRealSysFs(), manager.HousekeepingConfigFlags, included,
		strings.Split(*prefixes, ","), []string{""}, "", 0)
	if err != nil {
		klog.Fatal(err)
	}
	if err := watched.Start(); err != nil {
		klog.Fatal(err)
	}
	labels := metrics.DefaultContainerLabels
	if !*storeLabels {
		labels = metrics.BaseContainerLabels(nil)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		metrics.NewPrometheusCollector(watched, labels, included, clock.RealClock{},
			info.RequestOptions{IdType: info.TypeName, Count: 1, Recursive: true}),
		metrics.NewPrometheusMachineCollector(watched, included))
	http.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}))
	klog.Fatal(http.ListenAndServe(fmt.Sprintf("%s:%d", *address, *port), nil))
}
